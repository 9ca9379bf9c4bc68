//! Session tokens: minted and verified with the node's key.

use domp_protocol::session::SessionToken;
use domp_state::SigningKey;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Mints and verifies, with the keys that the meta group holds: the newest signs, all verify. The
/// nonces come from the run's seed: they make tokens of one birth differ, the signature is what keeps
/// them from being guessed.
pub struct Minter {
    keys: Vec<SigningKey>,
    state: u64,
    /// Of the run: keys what is drawn, so that nonces don't tell what was drawn besides.
    draws: [u8; 32],
}

impl Minter {
    pub fn new(seed: u64) -> Self {
        let mut draws = [0; 32];
        draws[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            keys: Vec::new(),
            state: seed,
            draws,
        }
    }

    /// The keys there are, ascending by id.
    pub fn set_keys(&mut self, keys: &[SigningKey]) {
        if self.keys != keys {
            self.keys = keys.to_vec();
        }
    }

    /// Whether anything can be signed.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    fn newest(&self) -> u64 {
        self.keys.last().map_or(0, |key| key.id)
    }

    /// A token for a session born at revision `birth`, for its first connection, whose epoch
    /// that is too.
    pub fn mint(&mut self, birth: u64, principal: u64) -> SessionToken {
        let token = SessionToken {
            birth,
            nonce: self.draw(),
            principal,
            epoch: birth,
            key: self.newest(),
            mac: [0; 16],
        };
        self.signed(token)
    }

    /// The token of the same session for a connection of that epoch.
    pub fn renew(&self, token: &SessionToken, epoch: u64) -> SessionToken {
        self.signed(SessionToken {
            epoch,
            key: self.newest(),
            ..*token
        })
    }

    fn signed(&self, token: SessionToken) -> SessionToken {
        SessionToken {
            mac: self.mac(&token),
            ..token
        }
    }

    /// Whether this node's key signed the token.
    pub fn verifies(&self, token: &SessionToken) -> bool {
        if !self.keys.iter().any(|key| key.id == token.key) {
            return false;
        }
        let expected = self.mac(token);
        // No early exit: the time taken says nothing about where they differ.
        let difference = expected
            .iter()
            .zip(&token.mac)
            .fold(0, |all, (left, right)| all | (left ^ right));
        difference == 0
    }

    fn mac(&self, token: &SessionToken) -> [u8; 16] {
        let key = self.keys.iter().find(|key| key.id == token.key);
        let key = key.map_or(&[][..], |key| &key.key);
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
        mac.update(&token.signed_bytes());
        let full = mac.finalize().into_bytes();
        let mut short = [0; 16];
        short.copy_from_slice(&full[..16]);
        short
    }

    /// The next number of the run's seed: `SplitMix64` (Steele, Lea and Flood,
    /// 2014), keyed, so that nonces don't tell what was drawn besides.
    pub fn draw(&mut self) -> u64 {
        let word = self.step();
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.draws).expect("HMAC takes a key of any length");
        mac.update(b"draw");
        mac.update(&word.to_le_bytes());
        let full = mac.finalize().into_bytes();
        let mut short = [0; 8];
        short.copy_from_slice(&full[..8]);
        u64::from_le_bytes(short)
    }

    fn step(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minter(keys: &[(u64, u8)]) -> Minter {
        let mut minter = Minter::new(1);
        let keys: Vec<SigningKey> = keys
            .iter()
            .map(|&(id, byte)| SigningKey {
                id,
                key: [byte; 32],
            })
            .collect();
        minter.set_keys(&keys);
        minter
    }

    #[test]
    fn a_token_is_good_only_with_its_own_key_and_fields() {
        let mut minting = minter(&[(1, 7)]);
        let token = minting.mint(99, 5);
        assert!(minting.verifies(&token));
        assert!(!minter(&[(1, 8)]).verifies(&token));
        for other in [
            SessionToken {
                principal: 6,
                ..token
            },
            SessionToken { birth: 98, ..token },
            SessionToken { epoch: 98, ..token },
            SessionToken { key: 2, ..token },
            SessionToken {
                nonce: token.nonce ^ 1,
                ..token
            },
        ] {
            assert!(!minting.verifies(&other), "{other:?}");
        }
    }

    #[test]
    fn the_newest_key_signs_and_the_older_one_still_verifies() {
        let old = minter(&[(1, 7)]).mint(99, 5);
        let mut both = minter(&[(1, 7), (2, 9)]);
        assert!(both.verifies(&old));
        let new = both.mint(99, 5);
        assert_eq!((old.key, new.key), (1, 2));
        assert!(both.verifies(&new) && !minter(&[(1, 7)]).verifies(&new));
        assert!(!minter(&[(2, 9)]).verifies(&old), "its key was dropped");
    }

    #[test]
    fn without_keys_nothing_verifies() {
        let minter = Minter::new(1);
        let token = SessionToken {
            birth: 99,
            nonce: 1,
            principal: 5,
            epoch: 99,
            key: 0,
            mac: [0; 16],
        };
        assert!(!minter.has_keys() && !minter.verifies(&minter.signed(token)));
    }

    #[test]
    fn a_renewed_token_names_the_same_session_under_its_epoch() {
        let mut minter = minter(&[(1, 7)]);
        let token = minter.mint(99, 5);
        let renewed = minter.renew(&token, 120);
        assert!(minter.verifies(&renewed));
        assert_eq!((token.epoch, renewed.epoch), (99, 120));
        assert_eq!(
            (renewed.birth, renewed.nonce, renewed.principal),
            (token.birth, token.nonce, token.principal)
        );
    }

    #[test]
    fn nonces_differ() {
        let mut minter = minter(&[(1, 7)]);
        assert_ne!(minter.mint(1, 1).nonce, minter.mint(1, 1).nonce);
    }
}
