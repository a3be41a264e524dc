#if canImport(CoreML)
import CoreML
import Foundation

/// Compiled models in Application Support, one folder per model, named after the hash of its files.
///
/// A folder appears in one step and only after its files were checked, so a compiled model that is there belongs to
/// files that were found intact. An actor: two loads at once compile a model once.
actor CompiledModelCache {
    static let shared = CompiledModelCache()

    private static let fileManager = FileManager.default

    /// The loaded model of `graph`, whose .mlpackage is at `source`: from the cache, or checked and compiled now.
    func model(
        for graph: Manifest.GraphFile, at source: URL, configuration: MLModelConfiguration
    ) async throws -> MLModel {
        let compiled = try Self.folder().appendingPathComponent("\(graph.treeSha256).mlmodelc", isDirectory: true)
        if Self.fileManager.fileExists(atPath: compiled.path) {
            if let model = try? await MLModel.load(contentsOf: compiled, configuration: configuration) {
                return model
            }
            // Core ML of a later system may refuse what an earlier one compiled: compile again.
            try? Self.fileManager.removeItem(at: compiled)
        }
        try PackageIntegrity.checkFiles(of: graph, in: source)
        do {
            let temporary = try await MLModel.compileModel(at: source)
            defer { try? Self.fileManager.removeItem(at: temporary) }
            // Actors let other calls in while they wait: the same model may have arrived in the meantime.
            if !Self.fileManager.fileExists(atPath: compiled.path) {
                try Self.fileManager.moveItem(at: temporary, to: compiled)
            }
            return try await MLModel.load(contentsOf: compiled, configuration: configuration)
        } catch {
            throw SAM2LiteModelsError.cannotCompile(graph: graph.id, reason: error.localizedDescription)
        }
    }

    /// Delete compiled models whose hash is not in `hashes`.
    func keepOnly(_ hashes: Set<String>) throws {
        for item in try Self.fileManager.contentsOfDirectory(at: Self.folder(), includingPropertiesForKeys: nil)
        where !hashes.contains(item.deletingPathExtension().lastPathComponent) {
            try Self.fileManager.removeItem(at: item)
        }
    }

    /// `Application Support/SAM2LiteModels`, made when missing, left out of backups: it can always be made again.
    private static func folder() throws -> URL {
        var folder = try fileManager
            .url(for: .applicationSupportDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
            .appendingPathComponent("SAM2LiteModels", isDirectory: true)
        try fileManager.createDirectory(at: folder, withIntermediateDirectories: true)
        var values = URLResourceValues()
        values.isExcludedFromBackup = true
        try folder.setResourceValues(values)
        return folder
    }
}
#endif
