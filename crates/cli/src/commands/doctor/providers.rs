//! What the settings make of the providers, and how those fare at the gateway that runs.

use domain::catalogue::{Catalogue, Provider, SANDBOX};
use gateway::app::{credentials, is_usable};
use gateway::config::Config;
use gateway::traffic::Credential;
use serde_json::Value;

use super::{Findings, Verdict};
use crate::client::{CALL_MS, Connection};

/// Where an operator reads how they fare.
const STATES: &str = "/api/v1/admin/providers";

/// Which providers the settings let be used.
pub(super) fn settings(
    config: &Config,
    catalogue: &Catalogue,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let providers = catalogue.providers();
    let providers = providers.filter(|provider| provider.id != SANDBOX);
    let (used, unused): (Vec<_>, Vec<_>) =
        providers.partition(|provider| is_usable(config, provider));
    for provider in &used {
        let (id, base_url) = (&provider.id, &provider.base_url);
        let text = match credentials(config, provider).as_slice() {
            [] => format!("{id} is used, at {base_url}"),
            pool => format!("{id} is used, at {base_url}, {}", named(pool)),
        };
        findings.ok("provider", &text)?;
    }
    for provider in unused {
        findings.ok("provider", &reason(config, provider))?;
    }
    if used.is_empty() {
        let hint = "set the secret of a provider, such as KIE_API_KEY";
        let text = "every run goes to the sandbox";
        return findings.tell(Verdict::Warn, "provider", text, hint);
    }
    Ok(())
}

/// Why a provider is not used.
fn reason(config: &Config, provider: &Provider) -> String {
    let id = &provider.id;
    let settings = config.providers.get(id);
    if settings.is_some_and(|settings| !settings.is_enabled) {
        return format!("{id} is switched off");
    }
    if provider.is_local {
        let variable = format!("ROUTERBASE_PROVIDERS__{}__BASE_URL", id.to_uppercase());
        return format!("{id} is not used: {variable} is not set");
    }
    let variable = provider.secret_env.as_deref().unwrap_or_default();
    format!("{id} is not used: {variable} is not set")
}

/// `with 2 credentials: 5e884898 (weight 3), 6b86b273`.
fn named(pool: &[Credential]) -> String {
    let one = |credential: &Credential| match credential.weight {
        1 => credential.id.clone(),
        weight => format!("{} (weight {weight})", credential.id),
    };
    let each: Vec<String> = pool.iter().map(one).collect();
    let noun = if pool.len() == 1 {
        "credential"
    } else {
        "credentials"
    };
    format!("with {} {noun}: {}", pool.len(), each.join(", "))
}

/// What the gateway that runs has learned of the providers; nothing is asked without a key.
pub(super) async fn running(
    connection: &Connection,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    if !connection.has_key() {
        return Ok(());
    }
    let list = match connection.client()?.get(STATES, CALL_MS).await {
        Ok(list) => list,
        Err(error) => {
            let hint = "it wants a running gateway (--url) and a key with the scope admin";
            return findings.tell(Verdict::Warn, "running", &error.to_string(), hint);
        }
    };
    let providers = list["data"].as_array();
    let providers = providers.into_iter().flatten();
    // The sandbox has no state: it fares as it is told to.
    let usable = |one: &&Value| one["usable"] == true && one["state"].is_object();
    for provider in providers.filter(usable) {
        let troubles = troubles(&provider["state"]);
        let id = provider["id"].as_str().unwrap_or_default();
        if troubles.is_empty() {
            let (open, waiting) = (&provider["state"]["open"], &provider["state"]["waiting"]);
            findings.ok("running", &format!("{id}: {open} open, {waiting} waiting"))?;
        }
        for trouble in troubles {
            let hint = "it is tried again by itself";
            findings.tell(Verdict::Warn, "running", &format!("{id}: {trouble}"), hint)?;
        }
    }
    Ok(())
}

/// What keeps a provider from work.
fn troubles(state: &Value) -> Vec<String> {
    let mut troubles = Vec::new();
    if !state["unreachable_until_ms"].is_null() {
        troubles.push("cannot be reached".to_owned());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for credential in state["credentials"].as_array().into_iter().flatten() {
        let (word, id) = (text(&credential["state"]), text(&credential["id"]));
        if word != "ready" {
            let reason = text(&credential["reason"]);
            troubles.push(format!("the credential {id} is {word}: {reason}"));
        }
    }
    for breaker in state["breakers"].as_array().into_iter().flatten() {
        let model = text(&breaker["model"]);
        troubles.push(format!("{model} is not sent there for a while"));
    }
    troubles
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pool_is_named_without_its_secrets() {
        let text = named(&Credential::pool("sk-one*3, sk-two"));
        assert!(text.starts_with("with 2 credentials: "), "{text}");
        assert!(
            text.contains("(weight 3)") && !text.contains("sk-"),
            "{text}"
        );
    }

    #[test]
    fn what_keeps_a_provider_from_work_is_told() {
        let state = json!({
            "unreachable_until_ms": 1,
            "credentials": [
                { "id": "5e884898", "state": "parked", "reason": "no such key" },
                { "id": "6b86b273", "state": "ready", "reason": null },
            ],
            "breakers": [{ "model": "video_generate.m" }],
        });
        let told = troubles(&state);
        assert_eq!(told.len(), 3);
        assert_eq!(told[1], "the credential 5e884898 is parked: no such key");
        assert_eq!(troubles(&json!({})), Vec::<String>::new());
    }
}
