//! A model of the API server: blocks with UIDs and resource versions, and every precondition.

use std::collections::BTreeMap;
use std::sync::Arc;

use caracal_api::{BlockCidr, IpamBlock};

use crate::request::{Reply, Request, StoreError};

#[derive(Default)]
pub(super) struct Store {
    pub(super) blocks: BTreeMap<String, Arc<IpamBlock>>,
    /// The range of each block that ever was.
    pub(super) cidrs: BTreeMap<String, BlockCidr>,
    version: u64,
    uids: u64,
    /// What changed since the last look: the block's name, and its owner's name before and after.
    pub(super) changed: Vec<(String, Option<String>, Option<String>)>,
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
            Request::ReadNode => unreachable!("the world answers it"),
            Request::ListNames => Ok(Reply::Names(self.blocks.keys().cloned().collect())),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(block) = self.blocks.remove(name) {
            self.changed.push((name.to_owned(), Some(block.spec.owner.name.clone()), None));
        }
    }

    fn put(&mut self, name: String, mut block: IpamBlock) -> Reply {
        self.version += 1;
        block.metadata.resource_version = Some(self.version.to_string());
        self.cidrs.entry(name.clone()).or_insert_with(|| block.spec.cidr.parse().unwrap());
        let block = Arc::new(block);
        let before = self.blocks.insert(name.clone(), Arc::clone(&block)).map(|b| b.spec.owner.name.clone());
        self.changed.push((name, before, Some(block.spec.owner.name.clone())));
        Reply::Block(block)
    }

    /// Comes back with the blocks of an earlier time. Versions go on rising, as the restore of a store is to be made.
    pub(super) fn restore(&mut self, blocks: BTreeMap<String, Arc<IpamBlock>>) {
        let before = std::mem::replace(&mut self.blocks, blocks);
        let names: std::collections::BTreeSet<&String> = before.keys().chain(self.blocks.keys()).collect();
        let owner = |b: &Arc<IpamBlock>| b.spec.owner.name.clone();
        let changed = names.into_iter().filter(|name| before.get(*name) != self.blocks.get(*name));
        let changed: Vec<_> = changed
            .map(|name| (name.clone(), before.get(name).map(owner), self.blocks.get(name).map(owner)))
            .collect();
        self.changed.extend(changed);
    }

    pub(super) fn owned_by(&self, node: &str) -> impl Iterator<Item = &Arc<IpamBlock>> {
        self.blocks.values().filter(move |b| b.spec.owner.name == node)
    }
}
