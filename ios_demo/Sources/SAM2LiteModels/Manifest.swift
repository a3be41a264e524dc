import Foundation

/// What `manifest.json` says about the package. Names follow the JSON, in Swift's case; `manifest.schema.json` has
/// the meaning of each field. Phone code takes every size, shape and constant from here and types none in.
public struct Manifest: Codable, Sendable {
    /// The newest manifest version that this code understands.
    public static let supportedVersion = 3

    public let manifestVersion: Int
    public let selfSha256: String
    public let packageName: String
    public let packageVersion: String
    public let runtime: String
    /// False where no machine of the build could run the files.
    public let executed: Bool
    public let studentSize: String
    public let checkpointSha256: String
    public let precision: Precision
    public let sizes: [Int]
    public let defaults: Defaults
    public let conformanceSha256: String?
    public let contract: ContractConstants
    public let gates: [GateResult]
    public let graphs: [GraphFile]

    public struct Precision: Codable, Sendable {
        public let recipe: String
        public let policySha256: String
    }

    public struct Defaults: Codable, Sendable {
        public let size: Int
        public let window: Int
        public let computeUnits: String
    }

    public struct ContractConstants: Codable, Sendable {
        public let contractVersion: Int
        public let sizes: [Int]
        public let fullSize: Int
        public let stride: Int
        public let maskStride: Int
        public let channels: Int
        public let detail4Channels: Int
        public let detail8Channels: Int
        public let memoryGrid: Int
        public let tokensPerFrame: Int
        public let cellPattern: Int
        public let maskChannels: Int
        public let bankTokens: Int
        public let bankTokensMin: Int
        public let bankTokensMax: Int
        public let promptSlots: Int
        public let objectQueries: Int
        public let masked: Float
        public let maskPromptLogit: Float
        public let ageFrames: Int
        public let windowMin: Int
        public let windowMax: Int
        public let labels: Labels
    }

    /// Values of the prompt encoder's `labels`.
    public struct Labels: Codable, Sendable {
        public let empty: Int
        public let background: Int
        public let foreground: Int
        public let boxTopLeft: Int
        public let boxBottomRight: Int
    }

    public struct GateResult: Codable, Sendable {
        public let kind: String
        public let graph: String?
        public let tensor: String?
        public let clip: String?
        public let size: Int?
        public let measure: String
        public let measured: Double
        public let bound: String
        public let limit: Double
        public let passed: Bool
        public let precision: String
        public let engine: String
    }

    public struct GraphFile: Codable, Sendable {
        public let id: String
        public let graph: String
        public let size: Int?
        public let path: String
        public let treeSha256: String
        public let bytes: Int
        public let files: [FileEntry]
        public let inputs: [Tensor]
        public let outputs: [Tensor]
    }

    public struct FileEntry: Codable, Sendable {
        public let path: String
        public let sha256: String
        public let bytes: Int
    }

    public struct Tensor: Codable, Sendable {
        public let name: String
        public let kind: String
        public let shape: [Int]
        public let dtype: String
        public let low: Float?
        public let high: Float?
        public let meaning: String
    }
}

extension Manifest {
    /// The manifest in `data`. Throws `SAM2LiteModelsError` for what is newer than this code or is no manifest.
    public static func decode(_ data: Data) throws -> Manifest {
        struct Header: Codable { let manifestVersion: Int }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        do {
            let version = try decoder.decode(Header.self, from: data).manifestVersion
            guard version == supportedVersion else {
                throw SAM2LiteModelsError.unsupportedVersion(found: version, supported: supportedVersion)
            }
            return try decoder.decode(Manifest.self, from: data)
        } catch let error as DecodingError {
            throw SAM2LiteModelsError.brokenManifest(reason: String(describing: error))
        }
    }
}
