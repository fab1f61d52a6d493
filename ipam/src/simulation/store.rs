//! A model of the API server: blocks with UIDs and resource versions, and every precondition.

use std::collections::BTreeMap;
use std::sync::Arc;

use caracal_api::IpamBlock;

use crate::request::{Reply, Request, StoreError};

#[derive(Default)]
pub(super) struct Store {
    pub(super) blocks: BTreeMap<String, Arc<IpamBlock>>,
    version: u64,
    uids: u64,
    /// What changed with the last request: the block's name and owner.
    pub(super) changed: Vec<(String, String)>,
}

impl Store {
    pub(super) fn apply(&mut self, request: &Request) -> Result<Reply, StoreError> {
        match request {
            Request::Create(block) => {
                let name = block.metadata.name.clone().unwrap();
                if self.blocks.contains_key(&name) {
                    return Err(StoreError::Exists);
                }
                let mut block = IpamBlock::clone(block);
                self.uids += 1;
                block.metadata.uid = Some(format!("uid-{}", self.uids));
                Ok(self.put(name, block))
            }
            Request::Replace(block) => {
                let name = block.metadata.name.clone().unwrap();
                let found = self.blocks.get(&name).ok_or(StoreError::Gone)?;
                if found.metadata.uid != block.metadata.uid
                    || found.metadata.resource_version != block.metadata.resource_version
                {
                    return Err(StoreError::Conflict);
                }
                if found.spec == block.spec {
                    return Ok(Reply::Block(Arc::clone(found)));
                }
                Ok(self.put(name, IpamBlock::clone(block)))
            }
            Request::Read(name) => {
                self.blocks.get(name).map(|b| Reply::Block(Arc::clone(b))).ok_or(StoreError::Gone)
            }
            Request::Delete { name, uid, resource_version } => {
                let found = self.blocks.get(name).ok_or(StoreError::Gone)?;
                if found.metadata.uid.as_deref() != Some(uid)
                    || found.metadata.resource_version.as_deref() != Some(resource_version)
                {
                    return Err(StoreError::Conflict);
                }
                self.remove(name);
                Ok(Reply::Deleted)
            }
            Request::ListNames => Ok(Reply::Names(self.blocks.keys().cloned().collect())),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(block) = self.blocks.remove(name) {
            self.changed.push((name.to_owned(), block.spec.owner.name.clone()));
        }
    }

    fn put(&mut self, name: String, mut block: IpamBlock) -> Reply {
        self.version += 1;
        block.metadata.resource_version = Some(self.version.to_string());
        self.changed.push((name.clone(), block.spec.owner.name.clone()));
        let block = Arc::new(block);
        self.blocks.insert(name, Arc::clone(&block));
        Reply::Block(block)
    }

    pub(super) fn owned_by(&self, node: &str) -> impl Iterator<Item = &Arc<IpamBlock>> {
        self.blocks.values().filter(move |b| b.spec.owner.name == node)
    }
}
