//! The facts of a pod from the API server, with the rights of the user.
//!
//! The pod itself must be had. Each other source may be missing (no right, no CRD, no log): then the diagnosis says so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{GetParams, ListParams, LogParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{Request, Selector, Status};
use kube::{Client, Config};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::diagnosis::{Log, Outcome, SourceName, SourceState};
use super::facts::{Facts, Role, View, by_urgency, other, views};
use super::object::{Event, List, Pod};
use super::refusal::{Asked, Refusal};
use super::target::{Target, WorkloadKind};
use crate::crash_report::{CrashReportSpec, GROUP, PLURAL, VERSION};
use crate::phrase::shell_word;

/// For each request.
const DEADLINE: Duration = Duration::from_secs(10);
/// Objects of a list.
const MOST_OBJECTS: u32 = 500;
/// Bytes of a log's end.
const MOST_LOG_BYTES: usize = 256 << 10;

/// Which cluster, and how much of the logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Absent: what `KUBECONFIG`, `~/.kube/config` or the pod that this runs in say.
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
    /// Absent: the target's, or the context's.
    pub namespace: Option<String>,
    /// Lines of each log; absent: no logs.
    pub log_lines: Option<u32>,
}

/// What is read of a workload: which pods are its.
#[derive(Deserialize)]
struct Workload {
    spec: WorkloadSpec,
}

#[derive(Deserialize)]
struct WorkloadSpec {
    selector: LabelSelector,
}

/// What is read of a `CrashReport`.
#[derive(Deserialize)]
struct Report {
    spec: CrashReportSpec,
}

/// A connection, and the words for its failures.
struct Connection {
    client: Client,
    namespace: String,
    /// ` --context x`
    options: String,
}

/// Reads all that there is of the target.
pub(super) fn read(
    cluster: &Cluster,
    target: &Target,
    container: Option<&str>,
    now: Timestamp,
) -> Result<Facts> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { facts(cluster, target, container, now).await })
}

async fn facts(cluster: &Cluster, target: &Target, container: Option<&str>, now: Timestamp) -> Result<Facts> {
    let connection = connect(cluster, target).await?;
    let mut pods = match target.workload {
        None => vec![connection.pod(&target.name).await?],
        Some(kind) => connection.pods(kind, &target.name).await?,
    };
    by_urgency(&mut pods);
    let others = pods.split_off(1.min(pods.len()));
    let pod =
        pods.pop().ok_or_else(|| anyhow!("{target} has no pods in namespace {}", connection.namespace))?;
    let mut facts = Facts::of_pod(pod, now);
    facts.namespace = Some(connection.namespace.clone());
    facts.others = others.iter().map(other).collect();
    facts.sources.push(SourceState::read(SourceName::Status));
    let pod = facts.pod.clone().unwrap_or_default();
    if let Some(wanted) = container {
        let names: Vec<_> = views(&pod).iter().map(|view| view.name).collect();
        if !names.contains(&wanted) {
            bail!("pod {} has no container {wanted}; it has: {}", facts.name, names.join(", "));
        }
        facts.container = Some(wanted.to_owned());
    }
    let logs = async {
        match cluster.log_lines {
            Some(lines) => connection.logs(&pod, container, lines).await,
            None => (BTreeMap::new(), None),
        }
    };
    let (report, events, (logs, log_state)) =
        tokio::join!(connection.report(&pod), connection.events(&pod), logs);
    facts.report = report.0;
    facts.events = events.0;
    facts.logs = logs;
    facts.sources.extend([report.1, events.1]);
    facts.sources.extend(log_state);
    Ok(facts)
}

async fn connect(cluster: &Cluster, target: &Target) -> Result<Connection> {
    let options = KubeConfigOptions { context: cluster.context.clone(), ..KubeConfigOptions::default() };
    let mut config = match (&cluster.kubeconfig, &cluster.context) {
        (Some(path), _) => {
            let failed = || format!("cannot use the kubeconfig {}", path.display());
            let kubeconfig = Kubeconfig::read_from(path).with_context(failed)?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.with_context(failed)?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.context("cannot use the kubeconfig")?,
        (None, None) => Config::infer().await.context(
            "no way to a cluster: name a kubeconfig with --kubeconfig or KUBECONFIG, or give lines with --from or --journal",
        )?,
    };
    config.connect_timeout = Some(DEADLINE);
    let namespace = cluster.namespace.clone().or_else(|| target.namespace.clone());
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).context("cannot use the kubeconfig")?;
    let kubeconfig = cluster.kubeconfig.as_ref().map(|path| ("--kubeconfig", path.display().to_string()));
    let context = cluster.context.as_ref().map(|context| ("--context", context.clone()));
    let given = [kubeconfig, context].into_iter().flatten();
    let options: Vec<_> = given.map(|(option, value)| format!(" {option} {}", shell_word(&value))).collect();
    let options = options.concat();
    Ok(Connection { client, namespace, options })
}

impl Connection {
    fn asked<'a>(&'a self, verb: &'static str, resource: &'a str) -> Asked<'a> {
        Asked { verb, resource, subresource: None, namespace: &self.namespace, options: &self.options }
    }

    /// The path of a namespace's objects.
    fn path(&self, api: &str, plural: &str) -> String {
        format!("{api}/namespaces/{}/{plural}", self.namespace)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        asked: &Asked<'_>,
        path: &str,
        name: &str,
    ) -> Result<T, Refusal> {
        self.object(asked, Request::new(path).get(name, &GetParams::default())).await
    }

    async fn list<T: DeserializeOwned>(
        &self,
        asked: &Asked<'_>,
        path: &str,
        params: &ListParams,
    ) -> Result<Vec<T>, Refusal> {
        let list: List<T> = self.object(asked, Request::new(path).list(params)).await?;
        Ok(list.items)
    }

    async fn object<T: DeserializeOwned>(
        &self,
        asked: &Asked<'_>,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, Refusal> {
        let text = within(asked, async {
            self.client.request_text(request.map_err(kube::Error::BuildRequest)?).await
        });
        serde_json::from_str(&text.await?)
            .map_err(|error| Refusal::of(asked, &kube::Error::SerdeError(error)))
    }

    async fn pod(&self, name: &str) -> Result<Pod> {
        let asked = self.asked("get", "pods");
        self.get(&asked, &self.path("/api/v1", "pods"), name).await.map_err(|refusal| match refusal {
            Refusal::NoObject(_) => anyhow!(
                "there is no pod {name} in namespace {}: name another namespace with -n, or see `kubectl get pods -A`",
                self.namespace
            ),
            other => anyhow!("{}", other.text().to_owned()),
        })
    }

    /// The pods of a workload.
    async fn pods(&self, kind: WorkloadKind, name: &str) -> Result<Vec<Pod>> {
        let selector = self.selector(kind, name).await?;
        let asked = self.asked("list", "pods");
        let params = ListParams::default().labels_from(&selector).limit(MOST_OBJECTS);
        let pods = self.list(&asked, &self.path("/api/v1", "pods"), &params).await;
        pods.map_err(|refusal| anyhow!("{}", refusal.text().to_owned()))
    }

    async fn selector(&self, kind: WorkloadKind, name: &str) -> Result<Selector> {
        let asked = self.asked("get", kind.resource());
        let (plural, group) = kind.resource().split_once('.').unwrap_or_default();
        let path = self.path(&format!("/apis/{group}/v1"), plural);
        let workload: Workload = self.get(&asked, &path, name).await.map_err(|refusal| match refusal {
            Refusal::NoObject(_) => {
                anyhow!("there is no {} {name} in namespace {}", kind.kind(), self.namespace)
            }
            other => anyhow!("{}", other.text().to_owned()),
        })?;
        let selector = workload.spec.selector;
        // An empty one would be all pods of the namespace.
        let is_empty = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
            && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
        if is_empty {
            bail!("the selector of {} {name} is empty", kind.kind());
        }
        Ok(selector.try_into()?)
    }

    async fn report(&self, pod: &Pod) -> (Option<CrashReportSpec>, SourceState) {
        let state = |outcome, note: String| SourceState::with(SourceName::CrashReport, outcome, note);
        let resource = format!("{PLURAL}.{GROUP}");
        let asked = self.asked("get", &resource);
        let name = pod.metadata.name.clone().unwrap_or_default();
        let path = self.path(&format!("/apis/{GROUP}/{VERSION}"), PLURAL);
        match self.get::<Report>(&asked, &path, &name).await {
            Ok(report) if uids(pod).any(|uid| *uid == report.spec.pod_uid) => {
                (Some(report.spec), SourceState::read(SourceName::CrashReport))
            }
            Ok(_) => {
                let note = "it is of an earlier pod of this name; ends of containers are from status and Events only";
                (None, state(Outcome::None, note.to_owned()))
            }
            Err(Refusal::NoObject(_)) => {
                let note = "there is none of this pod: no agent of crashtrace writes reports on its node, or it saw no end; ends of \
                            containers are from status and Events only";
                (None, state(Outcome::None, note.to_owned()))
            }
            Err(Refusal::NoResource(_)) => {
                let note = "the cluster does not know them (the CRD crashreports.crashtrace.dev is not installed); ends of containers are \
                            from status and Events only";
                (None, state(Outcome::Unsupported, note.to_owned()))
            }
            Err(refusal) => (None, state(refusal.outcome(), refusal.text().to_owned())),
        }
    }

    /// The pod's Events. Those of a static pod have its config hash for a UID.
    async fn events(&self, pod: &Pod) -> (Vec<Event>, SourceState) {
        let asked = self.asked("list", "events");
        let mut events = Vec::new();
        for uid in uids(pod) {
            let params =
                ListParams::default().fields(&format!("involvedObject.uid={uid}")).limit(MOST_OBJECTS);
            match self.list(&asked, &self.path("/api/v1", "events"), &params).await {
                Ok(more) => events.extend::<Vec<Event>>(more),
                Err(refusal) => {
                    let note = format!(
                        "{}. What only Events tell (failed probes, volumes) is not known",
                        refusal.text()
                    );
                    return (events, SourceState::with(SourceName::Events, refusal.outcome(), note));
                }
            }
        }
        (events, SourceState::read(SourceName::Events))
    }

    /// The last lines of each container whose run ended. A missing right is said once.
    async fn logs(
        &self,
        pod: &Pod,
        only: Option<&str>,
        lines: u32,
    ) -> (BTreeMap<String, Log>, Option<SourceState>) {
        let mut asked = self.asked("get", "pods");
        asked.subresource = Some("log");
        let mut logs = BTreeMap::new();
        for view in views(pod) {
            if only.is_some_and(|only| only != view.name) || !is_worth_a_log(&view) {
                continue;
            }
            let previous = !view.has_ended();
            let log = match self.log(&asked, pod, view.name, previous, lines).await {
                Ok(lines) => Log { previous, lines, problem: None },
                Err(refusal @ (Refusal::Forbidden(_) | Refusal::Unauthorized(_))) => {
                    let state =
                        SourceState::with(SourceName::Logs, refusal.outcome(), refusal.text().to_owned());
                    return (logs, Some(state));
                }
                Err(refusal) => Log { previous, lines: Vec::new(), problem: Some(refusal.text().to_owned()) },
            };
            logs.insert(view.name.to_owned(), log);
        }
        let state = (!logs.is_empty()).then(|| SourceState::read(SourceName::Logs));
        (logs, state)
    }

    async fn log(
        &self,
        asked: &Asked<'_>,
        pod: &Pod,
        container: &str,
        previous: bool,
        lines: u32,
    ) -> Result<Vec<String>, Refusal> {
        let params = LogParams {
            container: Some(container.to_owned()),
            previous,
            tail_lines: Some(i64::from(lines)),
            limit_bytes: i64::try_from(MOST_LOG_BYTES).ok(),
            ..LogParams::default()
        };
        let path = self.path("/api/v1", "pods");
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let failed = |error: &dyn std::fmt::Display| Refusal::Failed(error.to_string());
        let request = Request::new(path).logs(name, &params).map_err(|error| failed(&error))?;
        // Not kube's own call for logs, which refuses one that is not UTF-8.
        let bytes = within(asked, async {
            let response = self.client.send(request.map(Body::from)).await?;
            let code = response.status();
            let body = Limited::new(response.into_body(), MOST_LOG_BYTES + 1024).collect().await;
            let body = body.map_err(kube::Error::Service)?.to_bytes();
            if code.is_success() {
                return Ok(body);
            }
            let status = serde_json::from_slice::<Status>(&body).unwrap_or_else(|_| {
                Status::failure(&String::from_utf8_lossy(&body), "not a Status").with_code(code.as_u16())
            });
            Err(kube::Error::Api(status.boxed()))
        });
        let bytes = bytes.await?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().map(str::to_owned).collect())
    }
}

/// The pod's UID. What kubelet and the runtime say of a static pod has its config hash in its place.
fn uids(pod: &Pod) -> impl Iterator<Item = &String> {
    let annotations = pod.metadata.annotations.as_ref();
    let mirror = annotations.and_then(|annotations| annotations.get("kubernetes.io/config.mirror"));
    [pod.metadata.uid.as_ref(), mirror].into_iter().flatten()
}

/// Whether a run of it ended that was not simply done.
fn is_worth_a_log(view: &View<'_>) -> bool {
    let ended = view.ended();
    let is_done = view.role == Role::Init && ended.first().is_some_and(|ended| ended.by.exit_code == 0);
    !ended.is_empty() && !is_done
}

async fn within<T>(
    asked: &Asked<'_>,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Refusal> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(answer) => answer.map_err(|error| Refusal::of(asked, &error)),
        Err(_) => Err(Refusal::silent(asked, DEADLINE)),
    }
}
