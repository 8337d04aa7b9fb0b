//! Which protocol two versions agree on.

use super::error::HandshakeError;
use super::message::{Hello, Refusal, RefusalCode, Version, Welcome};

/// What one side can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The newest protocol it speaks; all smaller minors of that major too.
    pub protocol: Version,
    /// Feature bits it has.
    pub features: u64,
    /// Feature bits it cannot do without; a subset of `features`.
    pub required_features: u64,
    /// Hash of its command vocabulary.
    pub vocabulary_hash: u64,
}

/// What two sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The smaller minor of the two.
    pub protocol: Version,
    /// The features that both have.
    pub features: u64,
}

/// The executor's choice: same major (else refused), smaller minor, common features, same vocabulary.
pub fn negotiate(offer: &Hello, ours: &Capabilities) -> Result<Chosen, Refusal> {
    check_major(offer.protocol, ours.protocol)?;
    if offer.vocabulary_hash != ours.vocabulary_hash {
        return Err(other_vocabulary(offer.vocabulary_hash, ours.vocabulary_hash));
    }
    let features = offer.features & ours.features;
    let missing = ours.required_features & !features;
    if missing != 0 {
        let text =
            format!("found no feature bits {missing:#x}, expected them; try: update the client");
        return Err(Refusal::new(RefusalCode::Features, &text));
    }
    let minor = offer.protocol.minor.min(ours.protocol.minor);
    Ok(Chosen { protocol: Version { minor, ..ours.protocol }, features })
}

fn check_major(found: Version, expected: Version) -> Result<(), Refusal> {
    if found.major == expected.major {
        return Ok(());
    }
    Err(version_refusal(found, expected))
}

/// The refusal that names both versions.
pub(super) fn version_refusal(found: Version, expected: Version) -> Refusal {
    let older = if found.major < expected.major { "client" } else { "executor" };
    let text =
        format!("found protocol {found}, expected {}.x; try: update the {older}", expected.major);
    Refusal::new(RefusalCode::Version, &text)
}

fn other_vocabulary(found: u64, expected: u64) -> Refusal {
    let text = format!(
        "found command vocabulary {found:#018x}, expected {expected:#018x}; likely cause: client and executor of \
         different builds; try: the same release"
    );
    Refusal::new(RefusalCode::Vocabulary, &text)
}

impl Welcome {
    /// The client's check that the executor chose among what was offered, and that `required_features` are there.
    pub fn check(&self, offer: &Hello, required_features: u64) -> Result<Chosen, HandshakeError> {
        let chosen = Chosen { protocol: self.protocol, features: self.features };
        if self.protocol.major != offer.protocol.major || self.protocol.minor > offer.protocol.minor
        {
            return Err(HandshakeError::Protocol {
                found: self.protocol,
                expected: offer.protocol,
            });
        }
        if self.features & !offer.features != 0 {
            let (found, offered) = (self.features, offer.features);
            return Err(HandshakeError::FeaturesNotOffered { found, offered });
        }
        let missing = required_features & !self.features;
        if missing != 0 {
            return Err(HandshakeError::FeaturesMissing { found: self.features, missing });
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::samples;
    use super::*;

    const OURS: Capabilities = Capabilities {
        protocol: Version { major: 3, minor: 5 },
        features: 0b0111,
        required_features: 0b0001,
        vocabulary_hash: 77,
    };

    fn offer(major: u16, minor: u16) -> Hello {
        let protocol = Version { major, minor };
        Hello { protocol, features: 0b1011, vocabulary_hash: 77, ..samples::hello() }
    }

    #[test]
    fn an_older_minor_is_spoken_as_the_client_speaks_it() {
        let chosen = negotiate(&offer(3, 2), &OURS).unwrap();
        assert_eq!(chosen.protocol, Version { major: 3, minor: 2 });
    }

    #[test]
    fn a_newer_minor_is_spoken_as_we_speak_it() {
        let chosen = negotiate(&offer(3, 9), &OURS).unwrap();
        assert_eq!(chosen.protocol, Version { major: 3, minor: 5 });
    }

    #[test]
    fn another_major_is_refused_with_both_numbers_and_the_older_side_named() {
        for (major, older) in [(2, "update the client"), (4, "update the executor")] {
            let refusal = negotiate(&offer(major, 1), &OURS).unwrap_err();
            assert_eq!(refusal.code, RefusalCode::Version);
            let text = refusal.text.as_str();
            for part in [&format!("protocol {major}.1"), "expected 3.x", older] {
                assert!(text.contains(part), "{text:?} lacks {part:?}");
            }
        }
    }

    #[test]
    fn only_features_of_both_sides_are_chosen() {
        assert_eq!(negotiate(&offer(3, 5), &OURS).unwrap().features, 0b0011);
    }

    #[test]
    fn a_client_without_a_required_feature_is_refused() {
        let poor = Hello { features: 0b1010, ..offer(3, 5) };
        let refusal = negotiate(&poor, &OURS).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Features);
        assert!(refusal.text.as_str().contains("0x1"), "{refusal}");
    }

    #[test]
    fn another_vocabulary_is_refused_with_both_hashes() {
        let other = Hello { vocabulary_hash: 78, ..offer(3, 5) };
        let refusal = negotiate(&other, &OURS).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Vocabulary);
        let text = refusal.text.as_str();
        assert!(
            text.contains("0x000000000000004e") && text.contains("0x000000000000004d"),
            "{text}"
        );
    }

    #[test]
    fn a_welcome_beyond_the_offer_is_refused_by_the_client() {
        let hello = offer(3, 5);
        let good = Welcome { protocol: hello.protocol, features: 0b0011, ..samples::welcome() };
        assert_eq!(good.check(&hello, 1).unwrap().features, 0b0011);
        let newer = Welcome { protocol: Version { major: 3, minor: 6 }, ..good };
        assert!(matches!(newer.check(&hello, 1), Err(HandshakeError::Protocol { .. })));
        let richer = Welcome { features: 0b0111, ..good };
        assert!(matches!(richer.check(&hello, 1), Err(HandshakeError::FeaturesNotOffered { .. })));
        let missing = HandshakeError::FeaturesMissing { found: 0b0011, missing: 0b1000 };
        assert_eq!(good.check(&hello, 0b1001), Err(missing));
    }
}
