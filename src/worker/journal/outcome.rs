//! An outcome as it is written; it reads back as [`crate::rpc::task::Progress`].

use serde::Serialize;

use crate::rpc::wire::{Ended, Frame, NotStarted};

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
enum Outcome<'a> {
    Ended { ended: &'a Ended },
    NotStarted { why: &'a NotStarted },
}

/// The outcome of an execution whose last frame is this; nobody knows it if that is none.
pub(super) fn outcome_of(last: &Frame) -> Option<Vec<u8>> {
    match last {
        Frame::Ended(ended) => Some(written(&Outcome::Ended { ended })),
        Frame::NotStarted(why) => Some(written(&Outcome::NotStarted { why })),
        Frame::Stdout(_) | Frame::Stderr(_) | Frame::Replayed(_) => None,
    }
}

/// The same in at most so many bytes: images that do not fit are left out, then output is halved from its end, and the
/// outcome says so.
pub(super) fn fit(last: &Frame, longest: usize) -> Option<Vec<u8>> {
    let whole = outcome_of(last)?;
    let Frame::Ended(ended) = last else { return Some(whole) };
    if whole.len() <= longest {
        return Some(whole);
    }
    let mut ended = Ended { truncated: true, ..Ended::clone(ended) };
    loop {
        let fitted = written(&Outcome::Ended { ended: &ended });
        if fitted.len() <= longest || !cut(&mut ended) {
            return Some(fitted);
        }
    }
}

/// Cuts what is longest; false if there is nothing left to cut.
fn cut(ended: &mut Ended) -> bool {
    if ended.images.pop().is_some() {
        return true;
    }
    let texts = [Some(&mut ended.stdout), Some(&mut ended.stderr), ended.execution_result.as_mut()];
    let longest = texts.into_iter().flatten().max_by_key(|text| text.len());
    let Some(longest) = longest else { return false };
    let half = longest.floor_char_boundary(longest.len() / 2);
    let is_cut = half < longest.len();
    longest.truncate(half);
    is_cut
}

fn written(outcome: &Outcome<'_>) -> Vec<u8> {
    serde_json::to_vec(outcome).expect("an outcome is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::task::Progress;
    use crate::rpc::wire::Image;

    fn read(outcome: &[u8]) -> Progress {
        serde_json::from_slice(outcome).unwrap()
    }

    #[test]
    fn an_outcome_reads_back_as_progress() {
        let ended = Box::new(Ended { exit_code: 3, ..Ended::default() });
        let check = |frame: Frame, progress: Progress| {
            assert_eq!(read(&outcome_of(&frame).unwrap()), progress);
            assert_eq!(read(&fit(&frame, 1).unwrap_or_default()), progress, "too short to be cut");
        };
        let why = NotStarted::Cancelled;
        check(Frame::NotStarted(why.clone()), Progress::NotStarted { why });
        assert_eq!(
            read(&outcome_of(&Frame::Ended(ended.clone())).unwrap()),
            Progress::Ended { ended }
        );
    }

    #[test]
    fn what_is_too_long_to_keep_is_cut_and_says_so() {
        let image = Image { mime_type: "image/png".to_owned(), data: "A".repeat(5_000) };
        let check = |stdout: String, images: Vec<Image>| {
            let ended = Ended { stdout, stderr: "e".repeat(100), images, ..Ended::default() };
            let kept = fit(&Frame::Ended(Box::new(ended.clone())), 2_000).unwrap();
            assert!(kept.len() <= 2_000, "{}", kept.len());
            let Progress::Ended { ended: read } = read(&kept) else { panic!("it has ended") };
            assert!(read.truncated && read.images.is_empty());
            assert!(ended.stdout.starts_with(&read.stdout) && !read.stdout.is_empty());
            assert_eq!(read.stderr, ended.stderr);
            assert_eq!(read.execution_result, None, "there was none");
        };
        check("ü".repeat(9_000), vec![]);
        check("\u{0}\"".repeat(9_000), vec![image.clone()]);
        check("short".to_owned(), vec![image]);
    }
}
