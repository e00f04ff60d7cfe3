//! What is written: the configuration, and the list.

use std::fmt::Write as _;

use super::expression::Origin;
use super::judge::{Judgement, Line};
use super::table::Kind;
use crate::cli::settings::Role;

const DEFAULT: &str = "the template's default; a deployment may have set another (`az containerapp sessionpool show` tells)";

/// The configuration of a role; that of `dev` holds a gateway's and a worker's settings.
pub(super) fn configuration(pool: &str, judgements: &[Judgement], role: Role) -> String {
    let mut text = format!("# Made by `baton migrate` of the session pool \"{pool}\".\n");
    text.push_str(match role {
        Role::Gateway => "# For every gateway: `baton gateway --config FILE`, with keys, Redis and who may call besides.\n",
        Role::Worker => "# For every worker: `baton worker --config FILE`, with its key and the gateways besides.\n",
        _ => {
            "# `baton dev --config FILE` takes it as it is. A deployment has two files: `baton migrate --role gateway` writes\n\
             # the one and `baton migrate --role worker` the other.\n"
        }
    });
    let mut none = true;
    for (of, title) in [(Role::Gateway, "The gateways'"), (Role::Worker, "Each worker's")] {
        let wanted = |line: &&Line| line.role == of && line.setting.belongs_to(role);
        let lines = judgements
            .iter()
            .flat_map(|it| it.lines.iter().filter(wanted).map(move |line| (it, line)));
        let mut lines = lines.peekable();
        if lines.peek().is_some() {
            none = false;
            write(&mut text, format_args!("\n# {title} settings.\n"));
        }
        for (judgement, line) in lines {
            let key = line.setting.file_key().unwrap_or_default();
            let origin = match judgement.origin {
                Origin::Written => String::new(),
                Origin::Default => format!(": {DEFAULT}"),
            };
            let (path, value) = (&judgement.path, line.value);
            write(&mut text, format_args!("\n# {path}{origin}\n{key} = {value}\n"));
        }
    }
    if none {
        text.push_str("\n# No property of the pool sets anything: the defaults hold.\n");
    }
    text
}

/// Every property under what became of it.
pub(super) fn list(pool: &str, judgements: &[Judgement]) -> String {
    let mut text = format!("session pool \"{pool}\"\n");
    let headings = [
        (Kind::Same, "the same"),
        (Kind::Differs, "differs"),
        (Kind::NoCounterpart, "no counterpart"),
        (Kind::Unknown, "unknown"),
    ];
    for (kind, heading) in headings {
        let mut own = judgements.iter().filter(|it| it.kind == kind).peekable();
        if own.peek().is_some() {
            write(&mut text, format_args!("\n{heading}:\n"));
        }
        for Judgement { path, value, origin, why, lines, .. } in own {
            let value = value.as_ref().map(|it| format!(" = {it}")).unwrap_or_default();
            let origin = match origin {
                Origin::Written => String::new(),
                Origin::Default => format!("{DEFAULT}; "),
            };
            write(&mut text, format_args!("  {path}{value}: {origin}{why}\n"));
            for line in lines {
                let key = line.setting.file_key().unwrap_or_default();
                write(
                    &mut text,
                    format_args!("    {key} = {} ({})\n", line.value, line.role.as_str()),
                );
            }
        }
    }
    text.push_str(NEXT);
    text
}

const NEXT: &str = "
next: `baton dev --config FILE` to try it; then keys (`baton help key`), the gateways and the workers; `baton doctor`
checks each. An agent changes the URL of its connection to https://YOUR-GATEWAY/mcp and the key in x-ms-apikey.
";

fn write(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes all that is written to it");
}
