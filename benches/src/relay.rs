//! What the programs of the relay's comparison agree on.

/// The file of the authority that signs all certificates, in a folder of certificates.
pub const AUTHORITY: &str = "authority.pem";

/// The agent's name, and its key.
pub const AGENT: (&str, &str) = ("acme", "scmhub-benchmark-agent");

/// The service's key.
pub const SERVICE: &str = "scmhub-benchmark-service";
