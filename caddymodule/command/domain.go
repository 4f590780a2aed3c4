package command

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/policy/store"
)

const domainsPath = "/management/domains"

// trustedDomain is a publisher domain as the API shows it.
type trustedDomain struct {
	Domain             string    `json:"domain"`
	SigningKeyPEM      string    `json:"signingKeyPem,omitempty"`
	JWKSURI            string    `json:"jwksUri,omitempty"`
	AllowedResourceIDs []string  `json:"allowedResourceIds"`
	CreatedAt          time.Time `json:"createdAt"`
	UpdatedAt          time.Time `json:"updatedAt"`
	UpdatedBy          string    `json:"updatedBy"`
	Probe              *struct {
		OK         bool       `json:"ok"`
		ActiveKeys int        `json:"activeKeys"`
		Error      string     `json:"error,omitempty"`
		CheckedAt  *time.Time `json:"checkedAt,omitempty"`
	} `json:"probe,omitempty"`
	KeyIDs     []string `json:"keyIds,omitempty"`
	AgeSeconds *int64   `json:"ageSeconds,omitempty"`
	Stale      bool     `json:"stale,omitempty"`
	Dropped    []string `json:"dropped,omitempty"`
}

func domainCommands(cmd *cobra.Command) {
	put := subcommand(cmd, "put <domain>", "Trusts a publisher domain, by pinned keys or by its key set", cobra.ExactArgs(1), putDomain)
	flags := put.Flags()
	flags.String("key", "", "PEM file with the domain's P-256 public keys; several for an overlap")
	flags.String("jwks", "", "https URL of the domain's JWK Set, on its own host")
	flags.StringArray("allow", nil, "resource that the domain may speak for: an id, or prefix:…*; may be repeated (default: all)")

	subcommand(cmd, "list", "Lists the trusted publisher domains", cobra.NoArgs, listDomains)
	subcommand(cmd, "show <domain>", "Shows a domain with its keys in use", cobra.ExactArgs(1), showDomain)
	subcommand(cmd, "probe <domain>", "Fetches a domain's keys now; exit code 1 when they cannot be had", cobra.ExactArgs(1), probeDomain)
	subcommand(cmd, "remove <domain>", "Trusts a domain no more: whatever it signed ends at once", cobra.ExactArgs(1), removeDomain)
	deny := subcommand(cmd, "deny <kid>", "Denies a publisher's key, even while the publisher's host is down", cobra.ExactArgs(1), denyKey)
	deny.Flags().String("note", "", "why, for those who come after")
	subcommand(cmd, "denied", "Lists the denied keys", cobra.NoArgs, listDenied)
	subcommand(cmd, "allow <kid>", "Ends the denial of a key", cobra.ExactArgs(1), allowKey)
}

func domainPath(domain string) string { return domainsPath + "/" + url.PathEscape(domain) }

func putDomain(c *call) error {
	body := map[string]any{}
	if (c.text("key") == "") == (c.text("jwks") == "") {
		return errors.New("give exactly one of --key and --jwks")
	}
	if file := c.text("key"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("--key: %w", err)
		}
		body["signingKeyPem"] = string(text)
	} else {
		body["jwksUri"] = c.text("jwks")
	}
	if allowed, _ := c.cmd.Flags().GetStringArray("allow"); len(allowed) > 0 {
		body["allowedResourceIds"] = allowed
	}
	var put trustedDomain
	if err := c.request(http.MethodPut, domainPath(c.args[0]), nil, body, &put); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(put)
	}
	fmt.Fprintf(c.out, "%s is trusted: %s\n", printable(put.Domain), printable(put.probed()))
	return nil
}

// probed tells what is known of the domain's keys.
func (d *trustedDomain) probed() string {
	switch {
	case d.Probe == nil:
		return ""
	case d.Probe.OK:
		return fmt.Sprintf("%d active keys", d.Probe.ActiveKeys)
	default:
		return "its keys cannot be had: " + d.Probe.Error
	}
}

func (d *trustedDomain) keysFrom() string {
	if d.JWKSURI != "" {
		return d.JWKSURI
	}
	return "pinned"
}

func (d *trustedDomain) allowed() string {
	if len(d.AllowedResourceIDs) == 0 {
		return "everything"
	}
	return strings.Join(d.AllowedResourceIDs, ", ")
}

func listDomains(c *call) error {
	var list struct {
		Domains []trustedDomain `json:"domains"`
	}
	list.Domains = []trustedDomain{}
	query := url.Values{"limit": {strconv.Itoa(store.MaxLimit)}}
	for {
		var page struct {
			Domains []trustedDomain `json:"domains"`
		}
		if err := c.request(http.MethodGet, domainsPath, query, nil, &page); err != nil {
			return err
		}
		list.Domains = append(list.Domains, page.Domains...)
		if len(page.Domains) < store.MaxLimit {
			break
		}
		query.Set("from", page.Domains[len(page.Domains)-1].Domain)
	}
	if c.json {
		return c.printJSON(list)
	}
	rows := make([][]string, len(list.Domains))
	for i := range list.Domains {
		d := &list.Domains[i]
		rows[i] = []string{d.Domain, d.keysFrom(), d.allowed(), d.UpdatedAt.Format(time.RFC3339), d.UpdatedBy}
	}
	return c.table("DOMAIN\tKEYS\tMAY SPEAK FOR\tUPDATED\tBY", rows)
}

func showDomain(c *call) error {
	var shown trustedDomain
	if err := c.request(http.MethodGet, domainPath(c.args[0]), nil, nil, &shown); err != nil {
		return err
	}
	return c.printDomain(&shown)
}

func probeDomain(c *call) error {
	var shown trustedDomain
	if err := c.request(http.MethodPost, domainPath(c.args[0])+"/probe", nil, struct{}{}, &shown); err != nil {
		return err
	}
	if err := c.printDomain(&shown); err != nil {
		return err
	}
	if shown.Probe == nil || !shown.Probe.OK {
		return fmt.Errorf("%s: %s", printable(shown.Domain), printable(shown.probed()))
	}
	return nil
}

func (c *call) printDomain(d *trustedDomain) error {
	if c.json {
		return c.printJSON(d)
	}
	rows := [][]string{
		{"domain", d.Domain},
		{"keys", d.keysFrom()},
		{"may speak for", d.allowed()},
		{"probe", d.probed()},
		{"keys in use", strings.Join(d.KeyIDs, ", ")},
	}
	if d.AgeSeconds != nil {
		age := (time.Duration(*d.AgeSeconds) * time.Second).String()
		if d.Stale {
			age += ", stale: it could not be fetched anew"
		}
		rows = append(rows, []string{"age", age})
	}
	for _, dropped := range d.Dropped {
		rows = append(rows, []string{"left out", dropped})
	}
	rows = append(rows, []string{"updated", d.UpdatedAt.Format(time.RFC3339) + " by " + d.UpdatedBy})
	return c.table("FIELD\tVALUE", rows)
}

func removeDomain(c *call) error {
	if err := c.request(http.MethodDelete, domainPath(c.args[0]), nil, nil, nil); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(map[string]string{"domain": c.args[0], "status": "removed"})
	}
	fmt.Fprintf(c.out, "%s is trusted no more\n", printable(c.args[0]))
	return nil
}

const deniedKeysPath = "/management/denied-keys"

// deniedKey is a denied key as the API shows it.
type deniedKey struct {
	KeyID    string    `json:"kid"`
	Note     string    `json:"note,omitempty"`
	DeniedAt time.Time `json:"deniedAt"`
	DeniedBy string    `json:"deniedBy"`
}

func denyKey(c *call) error {
	var denied deniedKey
	body := map[string]string{"kid": c.args[0]}
	if note := c.text("note"); note != "" {
		body["note"] = note
	}
	if err := c.request(http.MethodPost, deniedKeysPath, nil, body, &denied); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(denied)
	}
	fmt.Fprintf(c.out, "%s is denied: whatever it signed opens nothing\n", printable(denied.KeyID))
	return nil
}

func listDenied(c *call) error {
	list := []deniedKey{}
	if err := c.request(http.MethodGet, deniedKeysPath, nil, nil, &list); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(list)
	}
	rows := make([][]string, len(list))
	for i, denied := range list {
		rows[i] = []string{denied.KeyID, denied.DeniedAt.Format(time.RFC3339), denied.DeniedBy, denied.Note}
	}
	return c.table("KID\tDENIED\tBY\tNOTE", rows)
}

func allowKey(c *call) error {
	if err := c.request(http.MethodDelete, deniedKeysPath, url.Values{"kid": {c.args[0]}}, nil, nil); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(map[string]string{"kid": c.args[0], "status": "allowed"})
	}
	fmt.Fprintf(c.out, "%s is denied no more\n", printable(c.args[0]))
	return nil
}
