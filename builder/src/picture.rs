//! `mimg plan --svg`: the disks of a machine and all that stands on them, now and afterwards, as one picture.
//!
//! ```text
//! now          one bar for each disk, its partitions in proportion
//! afterwards   disks with their partitions --> arrays, groups, pools --> volumes --> file systems and mounts
//! ```
//! All of it is read from the plan's steps and the machine's answers: nothing is drawn that the plan does not say.

mod after;
mod board;
mod now;

use board::{Board, Fate, MARGIN};
use profiles::facts::Facts;
use profiles::inventory::{self, Drive};
use profiles::plan::Plan;
use profiles::problem::{Problem, Problems};
use profiles::spec::Spec;

/// Draws a plan that was made from these facts. The answer is an SVG document.
pub fn draw(spec: &Spec, plan: &Plan, facts: &Facts) -> Result<String, Problems> {
    let drives = drives(facts)?;
    let mut board = Board::new();
    let title = format!("{} · plan {}", spec.owner(), plan.hash(spec));
    board.heading(&title, MARGIN);
    let bottom = now::draw(&mut board, spec, plan, facts, &drives, 2.5 * MARGIN);
    let bottom = after::draw(&mut board, spec, plan, facts, &drives, bottom + MARGIN);
    legend(&mut board, bottom + MARGIN);
    Ok(board.finish(&title))
}

fn drives(facts: &Facts) -> Result<Vec<Drive>, Problems> {
    let saw = match inventory::drives(facts) {
        Some(Ok(drives)) => return Ok(drives),
        Some(Err(saw)) => saw,
        None => "no answer about the machine's disks".to_owned(),
    };
    let cure = "record them anew on the machine: `firstboot facts --json`";
    Err(Problems(vec![Problem::of_none(saw, "a recording with the machine's disks", cure)]))
}

fn legend(board: &mut Board, y: f64) {
    let mut x = MARGIN;
    for fate in Fate::ALL {
        board.swatch(x, y, fate);
        x += 105.0;
    }
    board.reach(x, y + MARGIN);
}
