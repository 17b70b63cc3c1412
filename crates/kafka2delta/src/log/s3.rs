//! Tables on S3, by the client of `object_store` alone. The factory of deltalake-aws looks credentials up with the AWS
//! SDK, which makes the addon a tenth larger and gives profiles and logins of the AWS CLI beyond what is here.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Once};

use deltalake::logstore::{
    LogStore, LogStoreFactory, ObjectStoreFactory, ObjectStoreRef, StorageConfig, client_options_from_certificate,
    default_logstore, logstore_factories, object_store_factories,
};
use deltalake::{DeltaResult, DeltaTableError};
use object_store::ObjectStoreScheme;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};
use object_store::path::Path;
use url::Url;

/// What says who asks. One place gives all of it, the options or the environment: a key of one with the session token of
/// the other would be refused.
const CREDENTIALS: [Key; 3] = [Key::AccessKeyId, Key::SecretAccessKey, Key::Token];

/// Any of these says where credentials come from; without them the instance's role is asked.
const SOURCES: [Key; 5] = [
    Key::AccessKeyId,
    Key::WebIdentityTokenFile,
    Key::ContainerCredentialsRelativeUri,
    Key::ContainerCredentialsFullUri,
    Key::SkipSignature,
];

#[derive(Debug)]
struct S3;

/// Has tables be opened at `s3://` and `s3a://`.
pub(super) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for scheme in ["s3://", "s3a://"] {
            #[expect(clippy::expect_used, reason = "both are URLs")]
            let url = Url::parse(scheme).expect("a URL");
            object_store_factories().insert(url.clone(), Arc::new(S3));
            logstore_factories().insert(url, Arc::new(S3));
        }
    });
}

impl ObjectStoreFactory for S3 {
    fn parse_url_opts(&self, url: &Url, config: &StorageConfig) -> DeltaResult<(ObjectStoreRef, Path)> {
        let (_, path) = ObjectStoreScheme::parse(url).map_err(DeltaTableError::generic)?;
        // A variable that is no text, of whatever program, is none of ours.
        let texts =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let settings = settings(config.raw.clone(), texts.filter(|(name, _)| name.starts_with("AWS_")));
        refuse_profile(&settings, has_profile())?;
        let mut builder = AmazonS3Builder::new().with_url(url.as_str()).with_retry(config.retry.clone());
        if let Some(file) = config.certificate.as_ref().and_then(|certificate| certificate.certificate_path.as_ref()) {
            builder = builder.with_client_options(client_options_from_certificate(file)?);
        }
        for (key, value) in settings {
            builder = builder.with_config(key, value);
        }
        Ok((Arc::new(builder.build()?), path))
    }
}

impl LogStoreFactory for S3 {
    fn with_options(
        &self,
        table: ObjectStoreRef,
        root: ObjectStoreRef,
        location: &Url,
        config: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(table, root, location, config))
    }
}

/// The client's settings by the options, and by the environment what they leave out.
fn settings(
    options: impl IntoIterator<Item = (String, String)>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> HashMap<Key, String> {
    let known = |(name, value): (String, String)| Some((name.to_ascii_lowercase().parse::<Key>().ok()?, value));
    let mut settings: HashMap<Key, String> = options.into_iter().filter_map(known).collect();
    let has_credentials = CREDENTIALS.iter().any(|key| settings.contains_key(key));
    for (key, value) in variables.into_iter().filter_map(known) {
        if !(has_credentials && CREDENTIALS.contains(&key)) {
            settings.entry(key).or_insert(value);
        }
    }
    settings
}

/// Whether the AWS CLI has been set up for this user.
fn has_profile() -> bool {
    let file = std::env::var_os("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let file = file.or_else(|| Some(std::env::home_dir()?.join(".aws").join("credentials")));
    std::env::var_os("AWS_PROFILE").is_some() || file.is_some_and(|file| file.exists())
}

/// Whoever has a profile means it; the instance's role, which would be asked instead, answers late or is another one.
fn refuse_profile(settings: &HashMap<Key, String>, has_profile: bool) -> DeltaResult<()> {
    if !has_profile || SOURCES.iter().any(|key| settings.contains_key(key)) {
        return Ok(());
    }
    Err(DeltaTableError::generic(
        "there are no credentials for S3, and profiles of the AWS CLI are not read: have it write them into the environment \
         by `eval \"$(aws configure export-credentials --format env)\"`, or give them as storage options",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn options_count_before_the_environment() {
        let settings = settings(
            pairs(&[("aws_endpoint_url", "http://one"), ("path", "no key of S3")]),
            pairs(&[("AWS_ENDPOINT_URL", "http://other"), ("AWS_REGION", "eu-central-1"), ("AWS_PAGER", "")]),
        );
        assert_eq!(settings.len(), 2);
        assert_eq!(settings[&Key::Endpoint], "http://one");
        assert_eq!(settings[&Key::Region], "eu-central-1");
    }

    #[test]
    fn credentials_are_not_mixed() {
        let variables = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "B"), ("AWS_SESSION_TOKEN", "C")];
        let of_options = [("AWS_ACCESS_KEY_ID", "D"), ("AWS_SECRET_ACCESS_KEY", "E")];
        let mixed = settings(pairs(&of_options), pairs(&variables));
        assert_eq!((mixed[&Key::AccessKeyId].as_str(), mixed.get(&Key::Token)), ("D", None));
        assert_eq!(settings([], pairs(&variables))[&Key::Token], "C");
    }

    #[test]
    fn a_profile_is_refused_where_nothing_else_says_who_asks() {
        let error = refuse_profile(&settings([], pairs(&[("AWS_REGION", "eu-central-1")])), true).unwrap_err();
        assert!(error.to_string().contains("aws configure export-credentials"), "{error}");
        assert!(refuse_profile(&settings([], []), false).is_ok());
        let role = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"), ("AWS_ROLE_ARN", "arn:aws:iam::1:role/a")];
        assert!(refuse_profile(&settings([], pairs(&role)), true).is_ok());
    }
}
