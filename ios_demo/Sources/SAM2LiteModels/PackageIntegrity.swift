#if canImport(CryptoKit)
import CryptoKit
import Foundation

/// Hashes of the package's files, compared with the manifest. They show damage; they are no signature.
enum PackageIntegrity {
    private static let chunkBytes = 1 << 20

    /// Throws unless the SHA-256 of `data`, with the digits of `selfSha256` replaced by zeros, is `selfSha256`.
    static func checkManifest(_ data: Data, selfSha256: String) throws {
        let text = String(decoding: data, as: UTF8.self)
        let zeroed = text.replacingOccurrences(of: selfSha256, with: String(repeating: "0", count: 64))
        let found = hex(SHA256.hash(data: Data(zeroed.utf8)))
        guard found == selfSha256 else {
            throw SAM2LiteModelsError.fileChanged(path: "manifest.json", expected: selfSha256, found: found)
        }
    }

    /// Throws unless every file of `graph`, below `folder`, is there and has the SHA-256 that the manifest gives it.
    static func checkFiles(of graph: Manifest.GraphFile, in folder: URL) throws {
        for entry in graph.files {
            guard isInside(entry.path) else { throw SAM2LiteModelsError.unsafePath(entry.path) }
            let name = "\(folder.lastPathComponent)/\(entry.path)"
            let found = try sha256(of: folder.appendingPathComponent(entry.path), named: name)
            guard found == entry.sha256 else {
                throw SAM2LiteModelsError.fileChanged(path: name, expected: entry.sha256, found: found)
            }
        }
    }

    /// Whether a path of the manifest stays in its folder.
    static func isInside(_ path: String) -> Bool {
        !path.contains("\\") && path.split(separator: "/", omittingEmptySubsequences: false)
            .allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
    }

    private static func sha256(of file: URL, named name: String) throws -> String {
        guard let handle = try? FileHandle(forReadingFrom: file) else {
            throw SAM2LiteModelsError.fileMissing(path: name)
        }
        defer { try? handle.close() }
        var hash = SHA256()
        while let chunk = try handle.read(upToCount: chunkBytes), !chunk.isEmpty {
            hash.update(data: chunk)
        }
        return hex(hash.finalize())
    }

    private static func hex(_ digest: SHA256.Digest) -> String {
        digest.map { String(format: "%02x", $0) }.joined()
    }
}
#endif
