// Package setting gives the placeholders {env.NAME} and {file./path} one meaning in
// every argument of a configuration. A configuration keeps them as they are written;
// Replace puts in their values when a module is provisioned.
//
//	authorities.go  files of certificate authorities
//	place.go        the places of options in a Caddyfile, for the errors of provisioning
//	replace.go      replacement in the texts of a configuration
//	secret.go       placeholders for secrets, which a configuration does not hold
//	value.go        durations, numbers and sizes that may be placeholders
package setting
