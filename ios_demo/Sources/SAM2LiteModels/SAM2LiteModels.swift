#if canImport(CoreML)
import CoreML
import Foundation

/// The Core ML models of this package, loaded and ready, and the manifest that describes them.
public struct SAM2LiteModels {
    public let manifest: Manifest
    private let models: [String: MLModel]

    /// The models for `sizes` (input sizes in pixels; the manifest's default size when nil).
    ///
    /// The first load of a model checks its files and compiles it, which takes seconds; later ones take it from the cache.
    /// Throws `SAM2LiteModelsError`.
    public static func load(
        sizes: [Int]? = nil, computeUnits: MLComputeUnits? = nil
    ) async throws -> SAM2LiteModels {
        let (manifest, folder) = try readManifest()
        let wanted = sizes ?? [manifest.defaults.size]
        for size in wanted where !manifest.sizes.contains(size) {
            throw SAM2LiteModelsError.unknownSize(size, available: manifest.sizes)
        }
        let configuration = MLModelConfiguration()
        configuration.computeUnits = computeUnits ?? Self.computeUnits(named: manifest.defaults.computeUnits)
        var models: [String: MLModel] = [:]
        let graphs = manifest.graphs.filter { graph in graph.size.map { wanted.contains($0) } ?? true }
        for graph in graphs {
            let name = (graph.path as NSString).lastPathComponent
            guard PackageIntegrity.isInside(name) else { throw SAM2LiteModelsError.unsafePath(graph.path) }
            models[graph.id] = try await CompiledModelCache.shared.model(
                for: graph, at: folder.appendingPathComponent(name, isDirectory: true), configuration: configuration)
        }
        return SAM2LiteModels(manifest: manifest, models: models)
    }

    /// The model of a graph id of the manifest, `mask_decoder_512` or `token_gate`.
    public func model(_ id: String) throws -> MLModel {
        if let model = models[id] { return model }
        let ids = manifest.graphs.map(\.id)
        guard ids.contains(id) else { throw SAM2LiteModelsError.unknownGraph(id, available: ids) }
        let loaded = manifest.graphs.filter { models[$0.id] != nil }.compactMap(\.size)
        throw SAM2LiteModelsError.notLoaded(id, sizes: Set(loaded).sorted())
    }

    /// Delete compiled models of earlier packages. Call it after an update of the app.
    public static func removeUnusedModels() async throws {
        let (manifest, _) = try readManifest()
        try await CompiledModelCache.shared.keepOnly(Set(manifest.graphs.map(\.treeSha256)))
    }

    private static func readManifest() throws -> (Manifest, URL) {
        let folder = Bundle.module.bundleURL(forModels: "Models")
        let file = folder.appendingPathComponent("manifest.json")
        guard let data = try? Data(contentsOf: file) else {
            throw SAM2LiteModelsError.manifestMissing(path: file.path)
        }
        let manifest = try Manifest.decode(data)
        try PackageIntegrity.checkManifest(data, selfSha256: manifest.selfSha256)
        return (manifest, folder)
    }

    private static func computeUnits(named name: String) -> MLComputeUnits {
        switch name {
        case "cpu_and_neural_engine": return .cpuAndNeuralEngine
        case "cpu_and_gpu": return .cpuAndGPU
        case "cpu_only": return .cpuOnly
        default: return .all
        }
    }
}

extension Bundle {
    /// The folder `name` among the bundle's resources; the path where it should be, when it is missing.
    fileprivate func bundleURL(forModels name: String) -> URL {
        url(forResource: name, withExtension: nil) ?? bundleURL.appendingPathComponent(name, isDirectory: true)
    }
}
#endif
