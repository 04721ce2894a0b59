//! Every API of the table, at each of its versions, both ways; and bytes that are none of them.

use super::*;
