//! Man pages, from the same definitions as the command lines: of mimg, and of firstboot for those who have no machine at
//! hand to ask.

use crate::cli::Cli;
use anyhow::Result;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use fs_err as fs;
use std::path::Path;

/// What no definition of a command line says.
struct Manual {
    section: &'static str,
    about: &'static str,
    /// In roff.
    end: &'static str,
}

const MIMG: Manual = Manual {
    section: "1",
    about: "mimg",
    end: r#".SH "EXIT STATUS"
0 done, 1 failed, 2 bad input or usage, 3 refused, 4 still waiting.
.SH FILES
.TP
\fIfleet.toml\fR, \fInodes/NAME.toml\fR, \fIprofiles/NAME.toml\fR, \fIoverlays/NAME/\fR
A fleet; /usr/share/doc/mimg/reference.md has all keys.
.TP
\fI~/.cache/mimg\fR
Downloads, and work in progress.
.SH "SEE ALSO"
.BR mimg (1),
.BR firstboot (8)
"#,
};

const FIRSTBOOT: Manual = Manual {
    section: "8",
    about: "mimg",
    end: r#".SH "EXIT STATUS"
0 done, 1 failed, 2 wrong usage, 3 refused, 4 something still waits or is left to do.
.SH FILES
.TP
\fI/var/lib/mimg/spec.json\fR
What this machine is to be.
.TP
\fI/run/mimg/report.json\fR
What the last pass found, and did.
.TP
\fI/var/lib/mimg/record.jsonl\fR
Everything that was ever done, one act a line.
.SH "SEE ALSO"
.BR firstboot (8),
.BR mimg (1)
"#,
};

/// Writes all pages into `folder`, which is made if it does not exist. Returns their names.
pub fn write(folder: &Path) -> Result<Vec<String>> {
    fs::create_dir_all(folder)?;
    let mut written = Vec::new();
    pages(Cli::command(), &MIMG, folder, &mut written)?;
    pages(firstboot::cli::command(), &FIRSTBOOT, folder, &mut written)?;
    written.sort();
    Ok(written)
}

/// A page for the command, and for each below it.
fn pages(command: Command, manual: &Manual, folder: &Path, written: &mut Vec<String>) -> Result<()> {
    let mut command = command.disable_help_subcommand(true);
    let source = format!("{} {}", command.get_name(), command.get_version().unwrap_or_default());
    command.build();
    let mut open = vec![command];
    while let Some(command) = open.pop() {
        open.extend(command.get_subcommands().filter(|below| !below.is_hide_set()).cloned());
        let page = Man::new(command).section(manual.section).source(&source).manual(manual.about);
        let mut text = Vec::new();
        page.render(&mut text)?;
        text.extend_from_slice(manual.end.as_bytes());
        fs::write(folder.join(page.get_filename()), text)?;
        written.push(page.get_filename());
    }
    Ok(())
}
