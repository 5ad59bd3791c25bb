"""Reports: self-contained HTML files, one module for each kind; `page` is what they share."""
