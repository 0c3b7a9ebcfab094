//! An owner in the words of the public schema.

use std::cell::OnceCell;

use super::Owner;
use crate::names::Names;
use crate::schema::{self, EngineKind, OwnerKind, Text};

/// The owner as the report has it, made when it is first needed: every sentence about it needs it.
#[derive(Debug, Default)]
pub(super) struct Shown(OnceCell<Box<schema::Owner>>);

/// It follows from the rest, and a case that waits does not need it.
impl Clone for Shown {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Shown {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Shown {}

impl Shown {
    pub(super) fn of(&self, owner: &Owner) -> &schema::Owner {
        self.0.get_or_init(|| Box::new(in_schema(owner)))
    }
}

/// An owner as the report has it.
fn in_schema(owner: &Owner) -> schema::Owner {
    let text = |value: &Option<String>| value.as_deref().map(Text::from);
    let names = owner.names.as_deref();
    let container = names.and_then(|names| names.container.as_ref());
    schema::Owner {
        kind: owner.kind,
        namespace: names.and_then(|names| text(&names.namespace)),
        pod: names.and_then(|names| text(&names.pod)),
        container: container.and_then(|container| text(&container.name)),
        kubernetes: names.map(|names| kubernetes(names, owner.kind)),
        pod_uid: text(&owner.pod_uid),
        static_pod: owner.static_pod,
        container_id: text(&owner.container_id),
        qos_class: owner.qos_class.or_else(|| names.and_then(|names| names.qos)),
        runtime: owner.runtime,
        unit: text(&owner.unit),
        engine: engine(owner),
        claims: owner.claims.as_deref().map(|claims| schema::Claims {
            kind: claims.kind,
            pod_uid: text(&claims.pod_uid),
            container_id: text(&claims.container_id),
            qos_class: claims.qos_class,
        }),
    }
}

/// A user's unit, if no engine made it.
fn engine(owner: &Owner) -> Option<schema::Engine> {
    let user = owner.user_unit.as_ref();
    let made = owner.engine.as_ref().map(|engine| (engine.kind, &engine.name));
    let (kind, name) = made.or_else(|| Some((EngineKind::UserUnit, &user?.unit)))?;
    Some(schema::Engine { kind, name: Text::from(&**name), uid: user.map(|user| user.uid) })
}

fn kubernetes(names: &Names, kind: OwnerKind) -> schema::Kubernetes {
    let container = names.container.as_ref();
    let memory = match kind {
        OwnerKind::Container => container.map(|container| container.memory).unwrap_or_default(),
        _ => names.pod_memory,
    };
    schema::Kubernetes {
        role: container.and_then(|container| container.role),
        workload: names.workload.as_ref().map(|workload| schema::Workload {
            kind: Text::from(&*workload.kind),
            name: Text::from(&*workload.name),
            inferred: workload.inferred,
        }),
        image: container.and_then(|container| container.image.as_deref()).map(Text::from),
        restart_count: container.and_then(|container| container.restart_count),
        memory_request_bytes: memory.request_bytes,
        memory_limit_bytes: memory.limit_bytes,
        source: names.source,
        stale_seconds: names.stale_seconds,
    }
}
