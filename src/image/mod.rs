//! Guest images: takes a catalog name, gives files in the cache that a domain can boot. Never writes to a base that a
//! guest may be using.
