package setting

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// IsSecret reports whether a text is a placeholder for a value outside of
// the configuration, which is readable at the admin endpoint.
func IsSecret(text string) bool {
	return strings.HasPrefix(text, "{env.") || strings.HasPrefix(text, "{file.")
}

// Secret returns the value of a placeholder without trailing newlines, and an
// empty text for an empty one.
func Secret(option, placeholder string) (string, error) {
	if placeholder == "" {
		return "", nil
	}
	if !IsSecret(placeholder) {
		return "", fmt.Errorf("%s: must be {env.NAME} or {file./path}: the configuration is readable at the admin endpoint", option)
	}
	secret, err := caddy.NewReplacer().ReplaceOrErr(placeholder, true, true)
	if err != nil || secret == "" {
		return "", fmt.Errorf("%s: %s is not set", option, placeholder)
	}
	return strings.TrimRight(secret, "\r\n"), nil
}
