//! Waiting for a condition, with a deadline that knows how slow the machine is.

use super::Accelerator;
use anyhow::{Result, bail};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Between two looks at the condition, at least. A look may start a process in a slow guest: the pause is four times as
/// long as the look took, so that a machine that is watched does not become slower by much.
const PAUSE: Duration = Duration::from_millis(100);

/// By how much limits are stretched: limits are written for an idle host with KVM. TCG needs some four times as long, a
/// loaded host longer still (up to four times), and MIMG_PATIENCE multiplies on top for a host that is slower yet.
pub fn patience() -> f64 {
    let emulated = if matches!(Accelerator::of_host(), Ok(Accelerator::Kvm)) { 1.0 } else { 4.0 };
    let said = std::env::var("MIMG_PATIENCE").ok().and_then(|text| text.parse::<f64>().ok());
    let asked = said.filter(|factor| factor.is_finite() && *factor > 0.0).unwrap_or(1.0);
    emulated * load().clamp(1.0, 4.0) * asked
}

/// Runnable processes per processor, over the last minute.
fn load() -> f64 {
    let text = fs_err::read_to_string("/proc/loadavg").unwrap_or_default();
    let average: f64 = text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0);
    average / std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}

/// Looks at `condition` until it breaks with a value, and returns that. It says why it is not true yet; the last reason
/// is in the error when `limit` (times `patience`) has passed.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<ControlFlow<T, String>>,
) -> Result<T> {
    let started = Instant::now();
    let limit = limit.mul_f64(patience());
    loop {
        let look = Instant::now();
        let reason = match condition()? {
            ControlFlow::Break(value) => return Ok(value),
            ControlFlow::Continue(reason) => reason,
        };
        if started.elapsed() >= limit {
            bail!("waited {:.0} s for {what}: {reason}", started.elapsed().as_secs_f64());
        }
        std::thread::sleep(PAUSE.max(look.elapsed() * 4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_still_missing_is_in_the_error() {
        let never = || Ok(ControlFlow::<(), _>::Continue("the moon is not blue".to_owned()));
        let said = wait_until("a blue moon", Duration::from_millis(1), never).unwrap_err().to_string();
        assert!(said.contains("for a blue moon: the moon is not blue"), "{said}");
    }

    #[test]
    fn a_condition_is_looked_at_until_it_holds() {
        let mut looks = 0;
        let third = || {
            looks += 1;
            Ok(if looks == 3 { ControlFlow::Break(looks) } else { ControlFlow::Continue(String::new()) })
        };
        assert_eq!(wait_until("a third look", Duration::from_secs(60), third).unwrap(), 3);
    }
}
