//! Secret text.

use zeroize::Zeroizing;

/// Text that is wiped when it is dropped and cannot be printed: neither `Debug` nor `Display` nor `Clone`, nor `==`.
///
/// ```compile_fail,E0369
/// use sealgate_config::SecretString;
/// let equal = SecretString::new("a") == SecretString::new("a");
/// ```
pub struct SecretString(Zeroizing<String>);

impl SecretString {
    /// Takes the text; the caller's own copies are the caller's to wipe.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A second copy.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::new(&self.0)
    }
}
