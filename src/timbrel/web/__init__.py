"""A page in the browser, thin over the public API, and the same by HTTP (`timbrel[web]`). `server` starts both."""
