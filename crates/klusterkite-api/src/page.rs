//! Lists, one page at a time.

use serde::{Deserialize, Serialize};

/// Items of a list page unless `limit` says otherwise.
pub const PAGE_LIMIT_DEFAULT: u32 = 100;

/// Most items of a list page.
pub const PAGE_LIMIT_MAX: u32 = 1000;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// Items of this page.
    pub items: Vec<T>,
    /// Give it as `cursor` to get the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// Number of items on all pages.
    pub total: u64,
}

impl<T> Page<T> {
    /// Makes the only page of a list that is short by nature.
    pub fn whole(items: Vec<T>) -> Self {
        let total = items.len() as u64;
        Self {
            items,
            next_cursor: None,
            total,
        }
    }
}
