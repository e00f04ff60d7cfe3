//! Which generation of the protocol a request speaks (versioning, "Terminology").

/// The one modern revision that is spoken here.
pub const MODERN_VERSION: &str = "2026-07-28";

/// What `server/discover` and -32022 list. Legacy revisions are served, but by `initialize` only.
pub const SUPPORTED_VERSIONS: [&str; 1] = [MODERN_VERSION];

/// How a request says who it is: in each request, or (long ago) in a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// Revision 2026-07-28: everything is in the request.
    Modern,
    /// The revisions of the `initialize` handshake, served without a session.
    Legacy(LegacyVersion),
}

impl Era {
    /// The revision's name, as it stands in `MCP-Protocol-Version`.
    pub fn version(self) -> &'static str {
        match self {
            Self::Modern => MODERN_VERSION,
            Self::Legacy(version) => version.as_str(),
        }
    }

    /// Is it a revision without a handshake?
    pub fn is_modern(self) -> bool {
        self == Self::Modern
    }
}

/// A revision with a handshake. Ordered by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LegacyVersion {
    /// `2025-03-26`
    March2025,
    /// `2025-06-18`
    June2025,
    /// `2025-11-25`
    November2025,
}

impl LegacyVersion {
    /// Every one, by age.
    pub const ALL: [Self; 3] = [Self::March2025, Self::June2025, Self::November2025];

    /// What a request without a version header speaks (2025-11-25 transports, "Protocol Version
    /// Header").
    pub const UNSTATED: Self = Self::March2025;

    /// What we offer a client that asked for something we do not speak (2025-11-25 lifecycle,
    /// "Version Negotiation"). Offering a modern revision here breaks four of five clients.
    pub const LATEST: Self = Self::November2025;

    /// Finds a legacy revision by its name.
    pub fn from_wire(version: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == version)
    }

    /// The revision's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::March2025 => "2025-03-26",
            Self::June2025 => "2025-06-18",
            Self::November2025 => "2025-11-25",
        }
    }

    /// The answer to the version an `initialize` asked for.
    pub fn negotiate(asked: Option<&str>) -> Self {
        // Without params: the curl commands of the platform we replace, which expect 2025-03-26.
        asked.map_or(Self::UNSTATED, |asked| Self::from_wire(asked).unwrap_or(Self::LATEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: Option<&str>, answered: &str) {
        assert_eq!(LegacyVersion::negotiate(asked).as_str(), answered, "asked for {asked:?}");
    }

    // 2025-11-25 lifecycle, "Version Negotiation": MUST respond with the same version if supported.
    #[test]
    fn a_legacy_version_we_speak_is_echoed() {
        check(Some("2025-03-26"), "2025-03-26");
        check(Some("2025-06-18"), "2025-06-18");
        check(Some("2025-11-25"), "2025-11-25");
    }

    // The same section: otherwise MUST respond with another version it supports.
    #[test]
    fn any_other_version_is_answered_with_the_latest_legacy_one() {
        check(Some("2026-07-28"), "2025-11-25");
        check(Some("2024-11-05"), "2025-11-25");
        check(Some(""), "2025-11-25");
    }

    #[test]
    fn no_version_is_answered_with_the_oldest() {
        check(None, "2025-03-26");
    }
}
