#if canImport(CoreML)
import CoreML
import Foundation

/// Compiled models in Application Support, one folder per model, named after the hash of its files.
///
/// A folder appears in one step and only after the model's files were checked, so a compiled model that is there belongs
/// to files that were found intact. Loads that need the same model at the same time share one compilation.
actor CompiledModelCache {
    static let shared = CompiledModelCache()

    private static let fileManager = FileManager.default
    private var compilations: [String: Task<URL, Error>] = [:]

    /// The loaded model of `graph`, whose .mlpackage is at `source`: from the cache, or checked and compiled now.
    func model(
        for graph: Manifest.GraphFile, at source: URL, configuration: MLModelConfiguration
    ) async throws -> MLModel {
        let compiled = try await compiledModel(of: graph, at: source)
        if let model = try? await MLModel.load(contentsOf: compiled, configuration: configuration) {
            return model
        }
        // A later system may refuse what an earlier one compiled: compile once more, and let that error through.
        try? Self.fileManager.removeItem(at: compiled)
        let again = try await compiledModel(of: graph, at: source)
        do {
            return try await MLModel.load(contentsOf: again, configuration: configuration)
        } catch {
            throw SAM2LiteModelsError.cannotCompile(graph: graph.id, reason: error.localizedDescription)
        }
    }

    /// Delete compiled models whose hash is not in `hashes`.
    func keepOnly(_ hashes: Set<String>) throws {
        let items = try Self.fileManager.contentsOfDirectory(at: Self.folder(), includingPropertiesForKeys: nil)
        for item in items where !hashes.contains(item.deletingPathExtension().lastPathComponent) {
            try Self.fileManager.removeItem(at: item)
        }
    }

    private func compiledModel(of graph: Manifest.GraphFile, at source: URL) async throws -> URL {
        if let running = compilations[graph.treeSha256] { return try await running.value }
        let compiled = try Self.folder().appendingPathComponent("\(graph.treeSha256).mlmodelc", isDirectory: true)
        if Self.fileManager.fileExists(atPath: compiled.path) { return compiled }
        let compilation = Task { try await Self.compile(graph, at: source, to: compiled) }
        compilations[graph.treeSha256] = compilation
        defer { compilations[graph.treeSha256] = nil }
        return try await compilation.value
    }

    private static func compile(_ graph: Manifest.GraphFile, at source: URL, to compiled: URL) async throws -> URL {
        try PackageIntegrity.checkFiles(of: graph, in: source)
        do {
            let temporary = try await MLModel.compileModel(at: source)
            try fileManager.moveItem(at: temporary, to: compiled)
            return compiled
        } catch {
            throw SAM2LiteModelsError.cannotCompile(graph: graph.id, reason: error.localizedDescription)
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
