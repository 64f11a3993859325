//! mimg.lock, which people edit and git merges.

use crate::with_text;
use builder::lock::Lock;

/// What is read is written and read again as the same; what is refused is refused with words.
pub fn lock(bytes: &[u8]) {
    with_text(bytes, |text| match Lock::parse(text) {
        Ok(lock) => assert_eq!(Lock::parse(&lock.text()).as_ref(), Ok(&lock), "it does not read as itself"),
        Err(problems) => {
            assert!(!problems.to_string().trim().is_empty(), "refused without a word");
            if let Ok(salvaged) = Lock::salvage(text) {
                let kept = salvaged.lock;
                for (label, share) in &kept.shares {
                    assert_eq!(kept.members(share).count(), share.has.len(), "{label} has what is not there");
                }
                assert!(kept.same.values().all(|other| kept.shares.contains_key(other)), "as one that is not there");
            }
        }
    });
}
