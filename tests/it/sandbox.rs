//! Sandboxes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use baton::worker::sandbox::{Captured, Job, JobKind, Limits, Settings, Spec, probe};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn smoke() {
    let settings =
        Settings { launcher: PathBuf::from(env!("CARGO_BIN_EXE_baton")), ..Settings::default() };
    let runtime = match probe("auto", &settings).await {
        Ok(r) => r,
        Err(e) => {
            use std::error::Error;
            panic!("{e} / {:?} {:?}", e.source(), e.source().and_then(|s| s.source()))
        }
    };
    eprintln!("{:?}", runtime.capabilities());
    let dir = std::env::temp_dir().join("baton-smoke");
    std::fs::create_dir_all(&dir).unwrap();
    let t = Instant::now();
    let mut sb =
        runtime.create(&Spec { workspace: dir.clone(), limits: Limits::default() }).await.unwrap();
    eprintln!("create {:?}", t.elapsed());
    for kind in [
        JobKind::Python { code: "print('hi')\n1+1".into() },
        JobKind::Python {
            code: "x = 3\nimport os\ndef f():\n    raise ValueError('x')\nf()".into(),
        },
        JobKind::Shell { command: "id; ls -la / /dev /proc/self/fd; ps aux; exit 3".into() },
        JobKind::Python { code: "import asyncio\nawait asyncio.sleep(0.01)\nx+1".into() },
    ] {
        let mut out = Captured::default();
        let o = sb
            .run(
                Job { kind: kind.clone(), timeout: Duration::from_secs(5), variables: vec![] },
                &mut out,
                CancellationToken::new(),
            )
            .await;
        eprintln!(
            "{kind:?}\n{o:?}\n{}\n{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    }
    sb.destroy().await;
}
