//! Fields of the report by their paths, as `unresolved` and `inferred` name them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use strum::{IntoStaticStr, VariantArray};

/// A field of the report. [`Display`](fmt::Display) is the only place where its path is written, and nothing reads one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// Of `verdict`.
    Verdict(VerdictField),
    Origin,
    Constraint,
    /// Of `limit`.
    Limit(LimitField),
    /// Of `memory`.
    Memory(MemoryField),
    /// Of `trigger`.
    Trigger(ProcessField),
    /// The list of victims: some are not in it.
    Victims,
    /// Of one victim, by its place in the list.
    Victim(usize, ProcessField),
    /// Of some or all of several victims.
    EachVictim(ProcessField),
    /// Of `folded`.
    Folded(FoldedField),
    /// Of `allocation`.
    Allocation(AllocationField),
    /// Of `exit`.
    Exit(ExitField),
    /// Of `exit.process`.
    Exited(ProcessField),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum VerdictField {
    Cause,
    Shortage,
    Level,
}

/// `Whole` is `limit` itself; so in the other enumerations here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum LimitField {
    #[strum(serialize = "")]
    Whole,
    Owner,
    #[strum(serialize = "owner.pod")]
    OwnerPod,
    LimitBytes,
    UsageBytes,
    ShmemBytes,
    SwapUsageBytes,
    SwapLimitBytes,
    OomGroup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum MemoryField {
    #[strum(serialize = "")]
    Whole,
    Account,
    #[strum(serialize = "account.entries")]
    AccountEntries,
    #[strum(serialize = "account.swap.devices")]
    AccountSwapDevices,
    VictimAccount,
    #[strum(serialize = "victim_account.entries")]
    VictimAccountEntries,
    Unmovable,
    Holders,
    HoldersLate,
    #[strum(serialize = "holders[*].owner.pod")]
    HoldersOwnerPod,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ProcessField {
    #[strum(serialize = "")]
    Whole,
    Pid,
    Tid,
    ContainerPid,
    Comm,
    ThreadComm,
    Uid,
    StartBoottimeNs,
    AnonBytes,
    FileBytes,
    ShmemBytes,
    SwapBytes,
    PageTableBytes,
    TotalVmBytes,
    OomScoreAdj,
    Exiting,
    Cgroup,
    Owner,
    #[strum(serialize = "owner.pod")]
    OwnerPod,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum FoldedField {
    ResidentBytes,
    #[strum(serialize = "victims[*].pid")]
    VictimsPid,
    #[strum(serialize = "victims[*].comm")]
    VictimsComm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum AllocationField {
    #[strum(serialize = "")]
    Whole,
    Bytes,
    ScopeTotalBytes,
    VictimPointsBytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ExitField {
    ExitCode,
    EndedBy,
    Signals,
    #[strum(serialize = "signals[*].sender")]
    Sender,
    #[strum(serialize = "signals[*].sender.owner.pod")]
    SenderOwnerPod,
    Oom,
    Probe,
    Stop,
    Status,
}

impl Field {
    /// The victim that it is of, where it is of a certain one.
    #[must_use]
    pub fn victim(self) -> Option<usize> {
        match self {
            Self::Victim(place, _) => Some(place),
            _ => None,
        }
    }

    /// The same field of the victim at another place.
    #[must_use]
    pub fn of_victim(self, place: usize) -> Self {
        match self {
            Self::Victim(_, field) => Self::Victim(place, field),
            other => other,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = match self {
            Self::Origin => return f.write_str("origin"),
            Self::Constraint => return f.write_str("constraint"),
            Self::Victims => return f.write_str("victims"),
            Self::Verdict(field) => {
                f.write_str("verdict")?;
                field.into()
            }
            Self::Limit(field) => {
                f.write_str("limit")?;
                field.into()
            }
            Self::Memory(field) => {
                f.write_str("memory")?;
                field.into()
            }
            Self::Trigger(field) => {
                f.write_str("trigger")?;
                field.into()
            }
            Self::Victim(place, field) => {
                write!(f, "victims[{place}]")?;
                field.into()
            }
            Self::EachVictim(field) => {
                f.write_str("victims[*]")?;
                field.into()
            }
            Self::Folded(field) => {
                f.write_str("folded")?;
                field.into()
            }
            Self::Allocation(field) => {
                f.write_str("allocation")?;
                field.into()
            }
            Self::Exit(field) => {
                f.write_str("exit")?;
                field.into()
            }
            Self::Exited(field) => {
                f.write_str("exit.process")?;
                field.into()
            }
        };
        let below: &'static str = below;
        if below.is_empty() { Ok(()) } else { write!(f, ".{below}") }
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl JsonSchema for Field {
    fn schema_name() -> Cow<'static, str> {
        "Field".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// Something unknown, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unresolved {
    /// Path of the field, such as `victims[0].uid`, or of everything below it, such as `trigger`. `victims[*].uid` stands for
    /// some or all victims; the reason has their number.
    pub field: Field,
    /// Why it is unknown.
    pub reason: String,
}

impl Unresolved {
    #[must_use]
    pub fn new(field: Field, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn all() -> Vec<Field> {
        fn each<F: VariantArray + Copy>(of: impl Fn(F) -> Field) -> Vec<Field> {
            F::VARIANTS.iter().map(|field| of(*field)).collect()
        }
        let whole = vec![Field::Origin, Field::Constraint, Field::Victims];
        [
            whole,
            each(Field::Verdict),
            each(Field::Limit),
            each(Field::Memory),
            each(Field::Trigger),
            each(|field| Field::Victim(3, field)),
            each(Field::EachVictim),
            each(Field::Folded),
            each(Field::Allocation),
            each(Field::Exit),
            each(Field::Exited),
        ]
        .concat()
    }

    /// `schema` with its references followed, and what may be null taken for what it is otherwise.
    fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
        if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
            return resolved(root, root.pointer(path.trim_start_matches('#')).expect("the definition"));
        }
        match schema.get("anyOf").and_then(Value::as_array) {
            Some(choices) => resolved(root, &choices[0]),
            None => schema,
        }
    }

    /// What is unresolved is a field that a line has.
    #[test]
    fn each_path_leads_to_a_field_of_the_schema() {
        let root = crate::schema::json_schema();
        let incident = &root["$defs"]["Incident"];
        for field in all() {
            let mut at = incident;
            for step in field.to_string().split('.') {
                let (name, is_list) = match step.split_once('[') {
                    Some((name, _)) => (name, true),
                    None => (step, false),
                };
                at = resolved(
                    &root,
                    at.pointer(&format!("/properties/{name}")).unwrap_or_else(|| panic!("{field}")),
                );
                if is_list {
                    at = resolved(&root, &at["items"]);
                }
            }
        }
    }

    #[test]
    fn a_path_is_written_as_the_report_nests() {
        for (field, path) in [
            (Field::Verdict(VerdictField::Cause), "verdict.cause"),
            (Field::Limit(LimitField::Whole), "limit"),
            (Field::Trigger(ProcessField::OwnerPod), "trigger.owner.pod"),
            (Field::Victim(3, ProcessField::Uid), "victims[3].uid"),
            (Field::EachVictim(ProcessField::Whole), "victims[*]"),
            (Field::Folded(FoldedField::VictimsPid), "folded.victims[*].pid"),
        ] {
            assert_eq!(field.to_string(), path);
            assert_eq!(serde_json::to_value(field).unwrap(), path);
        }
        assert_eq!(Field::Victim(3, ProcessField::Uid).of_victim(1).to_string(), "victims[1].uid");
        assert_eq!(Field::Origin.of_victim(1), Field::Origin);
    }
}
