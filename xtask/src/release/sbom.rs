//! The SBOM, in `CycloneDX` 1.5 JSON. Pure.
//!
//! It is made from the same packages as the licence texts, so that the two agree. cargo-cyclonedx lists what cargo resolves for the whole
//! workspace, macros and build dependencies included, and misses the kernel object's packages.

use crate::packages::Package;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// The SBOM of the agent, from its packages.
pub(crate) fn cyclonedx(packages: &[Package], created: &str) -> Result<String> {
    let agent =
        packages.iter().find(|it| it.name == "crashtrace").context("the agent itself is a package")?;
    let parts: Vec<_> = packages.iter().filter(|it| it.name != agent.name).map(component).collect();
    let uses = |it: &Package| json!({ "ref": it.id(), "dependsOn": it.uses });
    let dependencies: Vec<_> = packages.iter().map(uses).collect();
    let mut whole = component(agent);
    whole["type"] = "application".into();
    let list = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "timestamp": created, "component": whole },
        "components": parts,
        "dependencies": dependencies,
    });
    Ok(format!("{list:#}\n"))
}

fn component(it: &Package) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": it.id(),
        "name": it.name,
        "version": it.version,
        "licenses": [{ "expression": it.licence }],
    });
    // Packages of this workspace are in no registry.
    if let Some(checksum) = &it.checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        component["purl"] = format!("pkg:cargo/{}", it.id()).into();
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::of_agent;
    use crate::toolchain::STATIC_TARGET;
    use cyclonedx_bom::models::bom::Bom;
    use cyclonedx_bom::prelude::Validate as _;
    use std::collections::BTreeSet;

    #[test]
    fn it_is_what_cyclonedx_asks_for_and_has_every_part() {
        let packages = of_agent(STATIC_TARGET).expect("cargo answers");
        let text = cyclonedx(&packages, "2026-11-25T00:00:00Z").expect("a list");
        let bom = Bom::parse_from_json_v1_5(text.as_bytes()).expect("CycloneDX");
        let result = bom.validate_version(cyclonedx_bom::models::bom::SpecVersion::V1_5);
        assert!(result.passed(), "{result:?}");
        let whole = bom.metadata.and_then(|metadata| metadata.component).expect("the agent");
        let mut listed: BTreeSet<_> =
            bom.components.expect("parts").0.into_iter().map(|it| it.name.to_string()).collect();
        assert!(listed.insert(whole.name.to_string()), "the whole is no part of itself");
        assert_eq!(listed, packages.iter().map(|it| it.name.clone()).collect());
        let of_registry = packages.iter().filter(|it| !it.is_ours()).count();
        assert_eq!(text.matches("\"purl\": \"pkg:cargo/").count(), of_registry);
        assert_eq!(text.matches("\"SHA-256\"").count(), of_registry);
    }
}
