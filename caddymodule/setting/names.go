package setting

import "regexp"

// DefaultVendor is the vendor of what names none.
const DefaultVendor = "default"

// Slug matches the names of vendors and sites.
var Slug = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
