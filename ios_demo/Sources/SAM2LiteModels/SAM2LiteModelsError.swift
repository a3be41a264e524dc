import Foundation

/// Why the models could not be loaded. `errorDescription` says what was expected, what was found and what to do.
public enum SAM2LiteModelsError: Error, Equatable, LocalizedError {
    case manifestMissing(path: String)
    case brokenManifest(reason: String)
    case unsupportedVersion(found: Int, supported: Int)
    case unsafePath(String)
    case fileMissing(path: String)
    case fileChanged(path: String, expected: String, found: String)
    case unknownSize(Int, available: [Int])
    case unknownGraph(String, available: [String])
    case notLoaded(String, sizes: [Int])
    case cannotCompile(graph: String, reason: String)

    public var errorDescription: String? {
        switch self {
        case .manifestMissing(let path):
            return "manifest: expected \(path), got no such file; build the package with `nox -s build_ios` "
                + "and depend on dist/ios"
        case .brokenManifest(let reason):
            return "manifest.json: expected the manifest as built, got \(reason); take the package from its source again"
        case .unsupportedVersion(let found, let supported):
            return "manifest.json: expected version \(supported), got \(found); "
                + "use the Swift sources that came with these models"
        case .unsafePath(let path):
            return "manifest.json: expected a path inside the package, got \(path); do not use this package"
        case .fileMissing(let path):
            return "\(path): expected a file, got nothing; add the whole package to the app again"
        case .fileChanged(let path, let expected, let found):
            return "\(path): expected sha256 \(expected), got \(found); take the package from its source again"
        case .unknownSize(let size, let available):
            return "size: expected one of \(available), got \(size); build the package with this size"
        case .unknownGraph(let id, let available):
            return "graph: expected one of \(available.joined(separator: ", ")), got \(id); use an id of the manifest"
        case .notLoaded(let id, let sizes):
            return "graph: expected a loaded one (sizes \(sizes)), got \(id); name its size when loading"
        case .cannotCompile(let graph, let reason):
            return "\(graph): expected Core ML to compile the model, got \(reason); check free space and OS version"
        }
    }
}
