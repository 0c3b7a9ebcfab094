//! Kubeconfigs. kube reads their YAML, merges several, and makes a `Config` of them; the files are read here,
//! bounded, and whole before kube sees them.
//!
//! # Users that are a program
//!
//! A user may be a program that writes a token (`exec`). It is run as the agent's user, which is root: so any user who can write
//! the file is root. Where a group or others can, or the file or a folder that it is in belongs to another user, the program is not
//! run and that is said ([`only_ours`]). It is run for each connection, and a connection is good for one watch.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::Config;
use kube::config::{AuthInfo, Cluster, ExecInteractiveMode, Kubeconfig};

use super::access::{Access, certificates, read};
use super::source::Takes;

/// The group or others may write.
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
/// Others may go through a folder.
const OTHERS_SEARCH: u32 = 0o001;
/// In such a folder only the owner of a file may replace it.
const STICKY: u32 = 0o1000;

/// The access by these files, merged as `kubectl` does: where two of them set the same, the first holds. Of this context, or of
/// the current one. May hang.
///
/// # Errors
/// The problem, and the file that has it.
pub(super) fn access(paths: &[PathBuf], context: Option<&str>) -> Result<Access, Wrong> {
    let (mut file, at) = merged(paths)?;
    let wrong = |reason: String| Wrong { path: at.clone(), reason };
    let name = context.map(str::to_owned).or(file.current_context.take());
    let name = name.ok_or_else(|| wrong("it has no current context: name one".to_owned()))?;
    let (cluster, user) = chosen(&mut file, &name).map_err(wrong)?;
    let (token, program) = complete(cluster, user).map_err(wrong)?;
    if let Some(program) = program {
        for path in paths {
            only_ours(path).map_err(|reason| Wrong {
                path: path.clone(),
                reason: format!("it names a program, {program}, which is not run: {reason}"),
            })?;
        }
    }
    file.current_context = Some(name);
    let config = Config::try_from(file).map_err(|error| wrong(error.to_string()))?;
    let https = config.cluster_url.scheme_str() == Some("https");
    if !https {
        return Err(wrong(format!("server {} is not https", config.cluster_url)));
    }
    Access::of(&config, token).map_err(wrong)
}

/// What the use of these files takes, and of those that this context names. May hang.
pub(super) fn takes(paths: &[PathBuf], context: Option<&str>) -> Takes {
    let mut files = paths.to_vec();
    let mut programs = false;
    if let Ok((mut file, _)) = merged(paths) {
        let name = context.map(str::to_owned).or(file.current_context.take()).unwrap_or_default();
        if let Ok((cluster, user)) = chosen(&mut file, &name) {
            programs = user.exec.is_some();
            let authority = &cluster.certificate_authority;
            let named = [authority, &user.client_certificate, &user.client_key, &user.token_file];
            files.extend(named.into_iter().flatten().map(PathBuf::from));
        }
    }
    Takes { programs, files_of_others: files.iter().any(|path| is_of_another_user(path)) }
}

/// Its owner is not the agent's user, or a folder on the way to it is another user's and not every user may go through.
fn is_of_another_user(path: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let is = |path: &Path, what: fn(&Metadata) -> bool| {
        std::fs::metadata(path).is_ok_and(|metadata| metadata.uid() != own && what(&metadata))
    };
    let closed = |folder: &Path| is(folder, |metadata| metadata.mode() & OTHERS_SEARCH == 0);
    // The way by links, and that which they lead to.
    let ways = [std::path::absolute(path), std::fs::canonicalize(path)];
    is(path, |_| true) || ways.iter().flatten().any(|way| way.ancestors().skip(1).any(closed))
}

/// A problem of a kubeconfig.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) path: PathBuf,
    pub(super) reason: String,
}

/// All of them merged, and the first. A file that does not exist is passed over, if another exists.
fn merged(paths: &[PathBuf]) -> Result<(Kubeconfig, PathBuf), Wrong> {
    let mut all: Option<(Kubeconfig, PathBuf)> = None;
    let mut absent = None;
    for path in paths {
        let wrong = |reason: &dyn fmt::Display| Wrong { path: path.clone(), reason: reason.to_string() };
        let bytes = match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                absent.get_or_insert(wrong(&error));
                continue;
            }
            read => read.map_err(|error| wrong(&error))?,
        };
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let text = std::str::from_utf8(bytes).map_err(|_| wrong(&"it is not text in UTF-8"))?;
        let mut file = Kubeconfig::from_yaml(text).map_err(|error| wrong(&error))?;
        resolve(&mut file, path.parent().unwrap_or(Path::new(".")));
        all = Some(match all {
            None => (file, path.clone()),
            Some((before, at)) => (before.merge(file).map_err(|error| wrong(&error))?, at),
        });
    }
    let none = || Wrong { path: PathBuf::new(), reason: "no file is named".to_owned() };
    all.ok_or_else(|| absent.unwrap_or_else(none))
}

/// Paths in a file are relative to it. (kube does this only where it reads the file itself.)
fn resolve(file: &mut Kubeconfig, dir: &Path) {
    let join = |path: &mut Option<String>| {
        if let Some(path) = path.as_mut().filter(|path| !path.is_empty()) {
            *path = dir.join(&path).to_string_lossy().into_owned();
        }
    };
    for cluster in file.clusters.iter_mut().filter_map(|it| it.cluster.as_mut()) {
        join(&mut cluster.certificate_authority);
    }
    for user in file.auth_infos.iter_mut().filter_map(|it| it.auth_info.as_mut()) {
        join(&mut user.client_certificate);
        join(&mut user.client_key);
        join(&mut user.token_file);
        // One without a slash is searched for in PATH.
        if let Some(exec) =
            user.exec.as_mut().filter(|it| it.command.as_ref().is_some_and(|it| it.contains('/')))
        {
            join(&mut exec.command);
        }
    }
}

/// The cluster and the user of a context.
fn chosen<'a>(file: &'a mut Kubeconfig, name: &str) -> Result<(&'a mut Cluster, &'a mut AuthInfo), String> {
    let context = file.contexts.iter().find(|it| it.name == name).and_then(|it| it.context.as_ref());
    let context = context.ok_or_else(|| format!("it has no context {name}"))?;
    let cluster = file.clusters.iter_mut().find(|it| it.name == context.cluster);
    let cluster = cluster
        .and_then(|it| it.cluster.as_mut())
        .ok_or_else(|| format!("it has no cluster {}", context.cluster))?;
    let user = context.user.as_deref().unwrap_or_default();
    let info = file.auth_infos.iter_mut().find(|it| it.name == user).and_then(|it| it.auth_info.as_mut());
    Ok((cluster, info.ok_or_else(|| format!("it has no user {user}"))?))
}

/// Puts the contents of other files into these, so that kube reads none. Its token's file, and its program.
fn complete(cluster: &mut Cluster, user: &mut AuthInfo) -> Result<(Option<PathBuf>, Option<String>), String> {
    if user.auth_provider.is_some() {
        let reason = "its user has an auth-provider, which Kubernetes 1.26 took away; use exec in its place";
        return Err(reason.to_owned());
    }
    if cluster.proxy_url.as_deref().is_some_and(|url| !url.is_empty()) {
        return Err("proxies are not supported".to_owned());
    }
    if cluster.insecure_skip_tls_verify == Some(true) {
        return Err("insecure-skip-tls-verify: crashtrace believes no server that anybody can be".to_owned());
    }
    put(&mut cluster.certificate_authority_data, &mut cluster.certificate_authority)
        .map_err(|reason| format!("certificate-authority: {reason}"))?;
    if let Some(data) = &cluster.certificate_authority_data {
        let bytes =
            BASE64.decode(data.trim()).map_err(|error| format!("certificate-authority-data: {error}"))?;
        certificates(&bytes).map_err(|reason| format!("certificate-authority: {reason}"))?;
    }
    put(&mut user.client_certificate_data, &mut user.client_certificate)
        .map_err(|reason| format!("client-certificate: {reason}"))?;
    let mut key = None;
    put(&mut key, &mut user.client_key).map_err(|reason| format!("client-key: {reason}"))?;
    user.client_key_data = user.client_key_data.take().or(key.map(Into::into));
    // As kubectl has it: the file is newer than a token in the kubeconfig.
    let token = user.token_file.take().filter(|path| !path.is_empty()).map(PathBuf::from);
    if token.is_some() {
        (user.token, user.username, user.password, user.exec) = (None, None, None, None);
    }
    let program = user.exec.as_mut().map(|exec| {
        // There is no terminal and no user to answer.
        exec.interactive_mode = Some(ExecInteractiveMode::Never);
        exec.command.clone().unwrap_or_default()
    });
    Ok((token, program))
}

/// Reads a file that is named in place of data.
fn put(data: &mut Option<String>, file: &mut Option<String>) -> Result<(), String> {
    let path = file.take().filter(|path| !path.is_empty());
    *data = match (data.take().filter(|data| !data.is_empty()), path) {
        (None, Some(path)) => {
            let bytes = read(Path::new(&path)).map_err(|error| format!("{path}: {error}"))?;
            Some(BASE64.encode(bytes))
        }
        (data, _) => data,
    };
    Ok(())
}

/// Only root and the agent's user can write the file, or replace it or a folder that it is in.
fn only_ours(path: &Path) -> Result<(), String> {
    let path = match std::fs::canonicalize(path) {
        // Nothing was read of it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        path => path.map_err(|error| error.to_string())?,
    };
    let own = rustix::process::geteuid().as_raw();
    for (depth, part) in path.ancestors().enumerate() {
        let metadata = std::fs::metadata(part).map_err(|error| format!("{}: {error}", part.display()))?;
        let (owner, mode) = (metadata.uid(), metadata.mode());
        if owner != 0 && owner != own {
            return Err(format!("{} belongs to user {owner}; chown it to root", part.display()));
        }
        let sticky = depth > 0 && mode & STICKY != 0;
        if mode & GROUP_OR_OTHERS_WRITE != 0 && !sticky {
            let part = part.display();
            return Err(format!("others than its owner can write {part}; chmod go-w {part}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
