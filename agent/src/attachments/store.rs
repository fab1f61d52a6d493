//! The journal's file: tables, batches of writes, and opening it whatever state it is in.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use caracal_api::IpamBlock;
use caracal_ipam::JournalTrust;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;
use tracing::{error, warn};

use super::attachment::Attachment;
use super::error::JournalError;
use super::machine::token;
use super::recover::{Damage, Recovered, after_boot};

const ATTACHMENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("attachments");
const BLOCKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("blocks");
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");

const FORMAT: &str = "1";
/// Memory that the store may use as its cache: the records of a node are a few hundred kilobytes.
const CACHE: usize = 2 << 20;

/// Which machine and boot the journal is opened on.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) machine_id: Option<String>,
    pub(super) boot_id: Option<String>,
}

/// One change of the journal.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Put { key: String, record: Vec<u8> },
    Remove { key: String },
    KeepBlock { name: String, record: Vec<u8> },
    ForgetBlock { name: String },
    Meta { key: &'static str, value: String },
}

/// Keys of the `meta` table.
pub(super) mod meta {
    pub(in super::super) const NODE_UID: &str = "node_uid";
    pub(in super::super) const LAST_LIVE: &str = "last_live";
    pub(super) const MACHINE: &str = "machine_id";
    pub(super) const BOOT: &str = "boot_id";
    pub(super) const TOKEN: &str = "claim_token";
    pub(super) const FORMAT: &str = "format";
}

/// The open file. After a failed write it is opened anew before the next one.
pub(super) struct Store {
    path: PathBuf,
    database: Option<Database>,
}

/// Why a file is not opened as it is.
enum Unusable {
    Damaged(String),
    Error(JournalError),
}

impl Store {
    /// Opens the journal, moving a file that cannot be used aside, and reads what it holds.
    pub(super) fn open(path: &Path, place: &Place) -> Result<(Self, Recovered), JournalError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|cause| file_error("making the folder of", path, cause))?;
        }
        let existed = path.exists();
        match Self::open_as_is(path, place, existed) {
            Ok(opened) => Ok(opened),
            Err(Unusable::Error(error)) => Err(error),
            Err(Unusable::Damaged(cause)) => {
                let aside = move_aside(path)?;
                error!(
                    journal = %path.display(), moved_to = %aside.display(), %cause,
                    "the journal cannot be used and was moved aside; a new one is begun, and addresses in use are \
                     taken from the blocks"
                );
                match Self::open_as_is(path, place, false) {
                    Ok((store, mut recovered)) => {
                        recovered.damage = Some(Damage { moved_to: Some(aside), cause });
                        Ok((store, recovered))
                    }
                    Err(Unusable::Error(error)) => Err(error),
                    Err(Unusable::Damaged(cause)) => {
                        Err(file_error("making", path, std::io::Error::new(ErrorKind::InvalidData, cause)))
                    }
                }
            }
        }
    }

    fn open_as_is(path: &Path, place: &Place, existed: bool) -> Result<(Self, Recovered), Unusable> {
        let mut store = Self { path: path.to_owned(), database: None };
        let database = store.connect()?;
        let read = |cause: redb::Error| match cause {
            redb::Error::Corrupted(what) => Unusable::Damaged(what),
            other => Unusable::Error(store_error("reading", path, other)),
        };
        let found = if existed { Contents::read(&database).map_err(read)? } else { Contents::default() };
        if found.format.as_deref().is_some_and(|f| f != FORMAT) {
            return Err(Unusable::Damaged(format!(
                "its format is {}, this program reads {FORMAT}",
                found.format.as_deref().unwrap_or_default()
            )));
        }
        if let (Some(theirs), Some(ours)) = (&found.machine_id, &place.machine_id)
            && theirs != ours
        {
            return Err(Unusable::Damaged(format!(
                "it was written on another machine ({theirs}; this one is {ours})"
            )));
        }
        store.database = Some(database);
        let recovered = store.begin(place, existed, found).map_err(Unusable::Error)?;
        Ok((store, recovered))
    }

    /// Writes what a start writes: identity, this boot, and the end of what ended with the last one.
    fn begin(&mut self, place: &Place, existed: bool, found: Contents) -> Result<Recovered, JournalError> {
        let rebooted = match (&found.boot_id, &place.boot_id) {
            (Some(then), Some(now)) => then != now,
            (Some(_) | None, _) => false,
        };
        let machine_id = place.machine_id.clone().or(found.machine_id).unwrap_or_else(token);
        // Records that cannot be read are lost, and with them the proof that what lies under the old token is all known.
        let old_token = found.claim_token.clone().filter(|_| found.unreadable.is_empty());
        let claim_token = old_token.unwrap_or_else(token);
        let (attachments, ended) = after_boot(rebooted, found.attachments);
        let set = |key, value: &str| Write::Meta { key, value: value.to_owned() };
        let mut writes =
            vec![set(meta::FORMAT, FORMAT), set(meta::MACHINE, &machine_id), set(meta::TOKEN, &claim_token)];
        writes.extend(place.boot_id.as_deref().map(|boot| set(meta::BOOT, boot)));
        writes.extend(ended.iter().map(|a| Write::Remove { key: a.key.to_string() }));
        self.commit(&writes)?;
        let whole = existed && found.claim_token.is_some() && found.unreadable.is_empty();
        let damage = (!found.unreadable.is_empty()).then(|| Damage {
            moved_to: None,
            cause: format!("these records cannot be read: {}", found.unreadable.join(", ")),
        });
        Ok(Recovered {
            attachments,
            ended,
            blocks: found.blocks,
            node_uid: found.node_uid,
            machine_id,
            claim_token,
            last_live: found.last_live,
            rebooted,
            trust: if whole { JournalTrust::Whole } else { JournalTrust::Lost },
            damage,
        })
    }

    fn connect(&self) -> Result<Database, Unusable> {
        let path = &self.path;
        Database::builder().set_cache_size(CACHE).create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => {
                Unusable::Error(JournalError::Locked { path: path.clone() })
            }
            DatabaseError::Storage(redb::StorageError::Corrupted(what)) => Unusable::Damaged(what),
            DatabaseError::Storage(redb::StorageError::Io(cause))
                if matches!(cause.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
            {
                Unusable::Damaged(format!("it is no journal: {cause}"))
            }
            DatabaseError::UpgradeRequired(version) => {
                Unusable::Damaged(format!("its file format is version {version}"))
            }
            DatabaseError::RepairAborted => Unusable::Damaged("its repair was not possible".to_owned()),
            other => Unusable::Error(store_error("opening", path, other.into())),
        })
    }

    /// Makes all these changes durable in one transaction, or none of them.
    pub(super) fn commit(&mut self, writes: &[Write]) -> Result<(), JournalError> {
        let database = self.database()?;
        let result = apply(database, writes);
        if result.is_err() {
            // After a failed write the store refuses everything until it is opened anew.
            self.database = None;
        }
        result.map_err(|cause| store_error("writing", &self.path, cause))
    }

    /// Every attachment.
    pub(super) fn attachments(&mut self) -> Result<Vec<Attachment>, JournalError> {
        let found = Contents::read(self.database()?);
        Ok(found.map_err(|cause| store_error("reading", &self.path, cause))?.attachments)
    }

    fn database(&mut self) -> Result<&Database, JournalError> {
        let database = match self.database.take() {
            Some(open) => open,
            None => self.connect().map_err(|unusable| match unusable {
                Unusable::Error(error) => error,
                Unusable::Damaged(cause) => {
                    file_error("opening", &self.path, std::io::Error::new(ErrorKind::InvalidData, cause))
                }
            })?,
        };
        Ok(self.database.insert(database))
    }
}

fn apply(database: &Database, writes: &[Write]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut attachments = transaction.open_table(ATTACHMENTS)?;
        let mut blocks = transaction.open_table(BLOCKS)?;
        let mut meta = transaction.open_table(META)?;
        for write in writes {
            match write {
                Write::Put { key, record } => drop(attachments.insert(key.as_str(), record.as_slice())?),
                Write::Remove { key } => drop(attachments.remove(key.as_str())?),
                Write::KeepBlock { name, record } => drop(blocks.insert(name.as_str(), record.as_slice())?),
                Write::ForgetBlock { name } => drop(blocks.remove(name.as_str())?),
                Write::Meta { key, value } => drop(meta.insert(*key, value.as_str())?),
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Everything in the file.
#[derive(Default)]
struct Contents {
    attachments: Vec<Attachment>,
    blocks: Vec<IpamBlock>,
    format: Option<String>,
    machine_id: Option<String>,
    boot_id: Option<String>,
    claim_token: Option<String>,
    node_uid: String,
    last_live: Option<SystemTime>,
    unreadable: Vec<String>,
}

impl Contents {
    fn read(database: &Database) -> Result<Self, redb::Error> {
        let transaction = database.begin_read()?;
        let mut found = Self::default();
        match transaction.open_table(META) {
            Ok(table) => {
                let get = |key| Ok::<_, redb::Error>(table.get(key)?.map(|v| v.value().to_owned()));
                found.format = get(meta::FORMAT)?;
                found.machine_id = get(meta::MACHINE)?;
                found.boot_id = get(meta::BOOT)?;
                found.claim_token = get(meta::TOKEN)?;
                found.node_uid = get(meta::NODE_UID)?.unwrap_or_default();
                let seconds = get(meta::LAST_LIVE)?.and_then(|text| text.parse().ok());
                found.last_live = seconds.and_then(|s| UNIX_EPOCH.checked_add(Duration::from_secs(s)));
            }
            // A file whose first commit never happened holds no tables.
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(found),
            Err(other) => return Err(other.into()),
        }
        found.attachments = rows(&transaction.open_table(ATTACHMENTS)?, "attachment", &mut found.unreadable)?;
        found.blocks = rows(&transaction.open_table(BLOCKS)?, "block", &mut found.unreadable)?;
        Ok(found)
    }
}

fn rows<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    what: &str,
    unreadable: &mut Vec<String>,
) -> Result<Vec<T>, redb::Error> {
    let mut all = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        match serde_json::from_slice(value.value()) {
            Ok(record) => all.push(record),
            Err(error) => {
                warn!(kind = what, key = key.value(), %error, "a record of the journal cannot be read and is left alone");
                unreadable.push(format!("{what} {}", key.value()));
            }
        }
    }
    Ok(all)
}

/// Renames a file that cannot be used, keeping it for people to look at.
fn move_aside(path: &Path) -> Result<PathBuf, JournalError> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for attempt in 0..100 {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{}", seconds + attempt));
        let aside = PathBuf::from(name);
        if !aside.exists() {
            fs::rename(path, &aside).map_err(|cause| file_error("moving aside", path, cause))?;
            return Ok(aside);
        }
    }
    Err(file_error("moving aside", path, std::io::Error::from(ErrorKind::AlreadyExists)))
}

fn file_error(doing: &'static str, path: &Path, cause: std::io::Error) -> JournalError {
    JournalError::File { doing, path: path.to_owned(), cause: Arc::new(cause) }
}

fn store_error(doing: &'static str, path: &Path, cause: redb::Error) -> JournalError {
    JournalError::Store { doing, path: path.to_owned(), cause: Arc::new(cause) }
}
