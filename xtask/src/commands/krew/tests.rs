use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use release::File;

/// krew's format, its fields and no others (`pkg/index/types.go` of krew).
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Plugin {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec {
    version: String,
    homepage: Option<String>,
    short_description: String,
    description: String,
    caveats: String,
    platforms: Vec<Platform>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Platform {
    selector: Selector,
    uri: String,
    sha256: String,
    files: Vec<Operation>,
    bin: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Selector {
    match_labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    from: String,
    to: String,
}

/// As a release has them, with another program for each architecture.
fn files(program: &[u8]) -> Vec<File<'static>> {
    let file = |path, mode, contents: &[u8]| File { path, mode, contents: contents.to_vec() };
    vec![
        file(PROGRAM, 0o755, program),
        file("licenses/LICENSE-MIT", 0o644, b"MIT"),
        file("licenses/THIRD-PARTY", 0o644, b"others"),
        file("sbom.cdx.json", 0o644, b"{}"),
    ]
}

fn packed(dir: &Path) -> Vec<Archive> {
    let pack = |arch: Arch| pack(&files(arch.debian().as_bytes()), arch, 1_700_000_000, dir);
    ARCHITECTURES.into_iter().map(|arch| pack(arch).expect("it can be packed")).collect()
}

/// What krew requires (`internal/index/validation/validate.go`), and that what the manifest names is in the archives.
#[test]
fn the_manifest_is_krews_and_its_checksums_are_the_archives() {
    let dir = tempfile::tempdir().expect("a folder");
    let archives = packed(dir.path());
    let text = manifest("https://downloads.example/v1/", Some("https://crashtrace.example"), &archives);
    let plugin: Plugin = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(plugin.api_version, "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!((plugin.kind.as_str(), plugin.metadata.name.as_str()), ("Plugin", "crashtrace"));
    let spec = plugin.spec;
    assert_eq!(spec.version, format!("v{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(spec.homepage.as_deref(), Some("https://crashtrace.example"));
    assert!(!spec.short_description.is_empty() && spec.short_description.len() <= 50, "one line of a table");
    assert!(spec.description.contains("kubectl crashtrace replay") && spec.caveats.contains("root"));
    let labels = |os: &str, arch: &str| {
        BTreeMap::from([("os".to_owned(), os.to_owned()), ("arch".to_owned(), arch.to_owned())])
    };
    let selectors: Vec<_> = spec.platforms.iter().map(|it| it.selector.match_labels.clone()).collect();
    assert_eq!(selectors, [labels("linux", "amd64"), labels("linux", "arm64")]);
    for (platform, arch) in spec.platforms.iter().zip(ARCHITECTURES) {
        let name = platform.uri.strip_prefix("https://downloads.example/v1/").expect("it is there");
        let archive = dir.path().join(name);
        let mut command = Command::new("sha256sum");
        let sum = exec::output(command.arg(&archive)).expect("the archive is there");
        assert_eq!(sum.split(' ').next(), Some(platform.sha256.as_str()));
        assert!(platform.sha256.len() == 64, "{}", platform.sha256);
        // As krew does: unpack, then move what each operation names.
        let (from, to) = (dir.path().join("from").join(name), dir.path().join("to").join(name));
        for folder in [&from, &to] {
            fs::create_dir_all(folder).expect("a folder");
        }
        let mut tar = Command::new("tar");
        exec::run(tar.arg("-xzf").arg(&archive).arg("--directory").arg(&from)).expect("it is an archive");
        for Operation { from: pattern, to: folder } in &platform.files {
            let folder = to.join(folder);
            fs::create_dir_all(&folder).expect("a folder");
            let moved = exec::output(
                Command::new("sh")
                    .current_dir(&from)
                    .args(["-c", &format!("mv -v {pattern} \"$0\"")])
                    .arg(&folder),
            );
            assert!(!moved.expect("something is there").is_empty(), "{pattern}");
        }
        assert_eq!(fs::read(to.join(&platform.bin)).expect("the program"), arch.debian().as_bytes());
        assert!(to.join("licenses/LICENSE-MIT").is_file() && to.join("sbom.cdx.json").is_file());
        let left = exec::output(Command::new("find").arg(&from).args(["-type", "f"])).expect("it runs");
        assert_eq!(left, "", "the manifest leaves nothing out");
    }
    let plain = manifest("https://downloads.example/v1", None, &archives);
    let lines = text.lines().filter(|line| !line.contains("homepage"));
    assert_eq!(plain.lines().collect::<Vec<_>>(), lines.collect::<Vec<_>>(), "with or without the slash");
}

#[test]
fn the_same_files_make_the_same_archive_whenever_they_are_packed() {
    let [first, second] = [(); 2].map(|()| {
        let dir = tempfile::tempdir().expect("a folder");
        let archives = packed(dir.path());
        let listed = exec::output(
            Command::new("tar").args(["--numeric-owner", "-tvzf"]).arg(dir.path().join(&archives[0].name)),
        );
        (archives.into_iter().map(|it| it.sha256).collect::<Vec<_>>(), listed.expect("an archive"))
    });
    assert_eq!(first, second);
    assert_ne!(first.0[0], first.0[1], "each has its own program");
    let program = first.1.lines().find(|line| line.ends_with(" crashtrace")).expect("the program");
    assert!(program.starts_with("-rwxr-xr-x 0/0 ") && program.contains("2023-11-14"), "{program}");
}

#[test]
fn addresses_that_would_change_the_manifest_are_refused() {
    assert!(is_address("https://downloads.example/crashtrace/v0.1.0"));
    for wrong in [
        "",
        "downloads.example",
        "http://downloads.example",
        "https://x y",
        "https://x\nbin: y",
        "https://x #",
    ] {
        assert!(!is_address(wrong), "{wrong:?}");
    }
}
