//! Recorded deaths of containers on real nodes (`tests/fixtures/kubernetes/deaths`), played to the agent's stages: signals and exits as
//! the kernel's records, the watch and the Events as the API server's. `truth.toml` has what really happened, and so what must
//! be said.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use play::{ALL, DEFAULT, Played, Setup, play};
use recording::Recording;
use truth::{Death, Truth};

mod cluster;
mod oom;
mod play;
mod recording;
mod records;
mod truth;
mod variants;

/// A case, played.
struct Case {
    truth: Truth,
    recording: Recording,
    death: Death,
}

impl Case {
    fn new(name: &str) -> Self {
        let truth = Truth::read();
        let death = truth.case(name).clone();
        Self { recording: Recording::read(&death.file), truth, death }
    }

    fn id(&self) -> String {
        self.recording.container(&self.death.container)
    }

    fn play(&self, setup: Setup) -> Played {
        play(&self.recording, &self.death.file, &self.truth, setup)
    }

    /// The last revision about it.
    fn last(&self, setup: Setup) -> Value {
        let played = self.play(setup);
        let last = played.of(&self.id()).last().cloned();
        last.unwrap_or_else(|| panic!("{}: no line of {:#?}", self.death.case, played.lines))
    }
}

/// Where the report of a death is not what it must be.
fn against(report: &Value, death: &Death) -> Vec<String> {
    let (exit, verdict) = (&report["exit"], &report["verdict"]);
    let mut against = Vec::new();
    let mut compare = |what: &str, got: &Value, expected: Value| {
        if *got != expected {
            against.push(format!("{}: {what} is {got}, and must be {expected}", death.case));
        }
    };
    compare("cause", &verdict["cause"], json!(death.cause));
    compare("level", &verdict["level"], json!(death.level));
    compare("ended_by", &exit["ended_by"], json!(death.ended_by));
    compare("exit_code", &exit["exit_code"], json!(death.ended.code()));
    compare("signal", &exit["signal"], json!(death.ended.signal()));
    compare("before_exec", &exit["before_exec"], json!(death.before_exec));
    compare("stop", &exit["stop"], json!(death.stop));
    compare("probe", &exit["probe"]["kind"], json!(death.probe));
    compare("an OOM kill that ended it", &json!(exit["oom"].is_object()), json!(death.oom));
    compare("OOM kills before", &exit["oom_kills_before_total"], json!(death.oom_before));
    let told: Vec<_> = exit["contradictions"].as_array().into_iter().flatten().collect();
    let said = |words: &Vec<String>, sentence: &Value| {
        let sentence = sentence.as_str().unwrap_or_default();
        words.iter().all(|word| sentence.contains(word.as_str()))
    };
    let all = death.contradictions.iter().all(|words| told.iter().any(|it| said(words, it)));
    if told.len() != death.contradictions.len() || !all {
        against.push(format!(
            "{}: contradictions are {told:?}, and must be of {:?}",
            death.case, death.contradictions
        ));
    }
    against
}

#[test]
fn each_recorded_death_gets_the_verdict_that_is_true() {
    let truth = Truth::read();
    let mut against_all = Vec::new();
    for file in truth.files() {
        let recording = Recording::read(file);
        let played = play(&recording, file, &truth, ALL);
        for death in truth.of(file) {
            let id = recording.container(&death.container);
            match played.of(&id).last() {
                Some(report) => against_all.extend(against(report, death)),
                None => against_all.push(format!("{}: no line", death.case)),
            }
        }
    }
    assert!(against_all.is_empty(), "{}", against_all.join("\n"));
}

#[test]
fn failures_have_a_line_by_default_and_what_was_ended_on_purpose_has_none() {
    let truth = Truth::read();
    let mut against_all = Vec::new();
    for file in truth.files() {
        let recording = Recording::read(file);
        let played = play(&recording, file, &truth, DEFAULT);
        for death in truth.of(file) {
            let id = recording.container(&death.container);
            let lines: Vec<_> = played.of(&id).collect();
            if death.line == lines.is_empty() {
                let causes = lines.iter().map(|it| (&it["revision"], &it["verdict"]["cause"]));
                let causes: Vec<_> = causes.collect();
                against_all.push(format!("{}: by default it has lines {causes:?}", death.case));
            }
            if let Some(report) = lines.last().filter(|_| death.line) {
                against_all.extend(against(report, death));
            }
        }
    }
    assert!(against_all.is_empty(), "{}", against_all.join("\n"));
}

/// Nor does the end of a pause.
#[test]
fn no_other_container_has_a_line() {
    let truth = Truth::read();
    for file in Recording::all() {
        let recording = Recording::read(&file);
        let played = play(&recording, &file, &truth, ALL);
        let known: BTreeSet<_> = truth.of(&file).map(|death| recording.container(&death.container)).collect();
        for line in played.exits() {
            let id = line["exit"]["process"]["owner"]["container_id"].as_str().unwrap_or_default();
            assert!(known.contains(id), "{file}: {line:#}");
        }
    }
}

#[test]
fn the_first_line_goes_out_at_once_and_the_last_soon() {
    let truth = Truth::read();
    for file in truth.files() {
        let recording = Recording::read(file);
        let played = play(&recording, file, &truth, ALL);
        for death in truth.of(file) {
            let id = recording.container(&death.container);
            let is_of = |line: &Value| line["exit"]["process"]["owner"]["container_id"] == id.as_str();
            let times: Vec<_> = played.lines.iter().filter(|(_, line)| is_of(line)).collect();
            let revisions: Vec<_> = times.iter().map(|(_, line)| line["revision"].as_u64()).collect();
            let ends = played.ends[&id];
            assert_eq!(times.first().map(|(time, _)| *time), Some(ends), "{}", death.case);
            assert!(times.iter().all(|(time, _)| *time <= ends + records::ms(10_000)), "{}", death.case);
            let numbered: Vec<_> = (1..=revisions.len() as u64).map(Some).collect();
            assert_eq!(revisions, numbered, "{}", death.case);
            let ids: BTreeSet<_> = times.iter().map(|(_, line)| line["id"].to_string()).collect();
            assert_eq!(ids.len(), 1, "{}", death.case);
        }
    }
}

#[test]
fn an_end_by_an_oom_kill_names_the_incident_of_the_kill() {
    let truth = Truth::read();
    for death in truth.deaths.iter().filter(|death| death.oom || death.oom_before > 0) {
        let recording = Recording::read(&death.file);
        let played = play(&recording, &death.file, &truth, ALL);
        let id = recording.container(&death.container);
        let report = played.of(&id).last().unwrap_or_else(|| panic!("{}: no line", death.case));
        let exit = &report["exit"];
        let named = if death.oom { &exit["oom"] } else { &exit["oom_kills_before"][0] };
        let kill = played.ooms().find(|line| line["id"] == named["id"]);
        let kill = kill.unwrap_or_else(|| panic!("{}: no such incident: {named}", death.case));
        assert_eq!(kill["victims"][0]["owner"]["container_id"], id.as_str(), "{}", death.case);
        assert_eq!(kill["victims"][0]["pid"], named["pid"], "{}", death.case);
        if death.oom {
            let of = |line: &Value| json!([line["verdict"]["cause"], line["verdict"]["level"]]);
            assert_eq!(of(kill), of(report), "{}", death.case);
            assert_eq!(exit["process"]["pid"], named["pid"], "{}", death.case);
        }
    }
}

#[test]
fn every_recording_is_played_but_that_of_a_pod_without_processes() {
    let truth = Truth::read();
    let left_out: Vec<_> =
        Recording::all().into_iter().filter(|file| !truth.files().contains(file.as_str())).collect();
    assert_eq!(left_out, ["traced/noimg"]);
    let names: BTreeSet<_> = truth.deaths.iter().map(|death| &death.case).collect();
    assert_eq!(names.len(), truth.deaths.len(), "each case has a name of its own");
}
