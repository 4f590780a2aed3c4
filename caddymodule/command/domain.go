package command

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

const (
	domainsPath    = "/management/domains"
	deniedKeysPath = "/management/denied-keys"
)

func domainCommands(cmd *cobra.Command) {
	put := subcommand(cmd, "put <domain>", "Trusts a publisher domain, by pinned keys or by its key set", cobra.ExactArgs(1), putDomain)
	flags := put.Flags()
	flags.String("key", "", "PEM file with the domain's P-256 public keys; several for an overlap")
	flags.String("jwks", "", "https URL of the domain's JWK Set, on its own host")
	flags.StringArray("allow", nil, "resource that the domain may sign links for: an id, or prefix:…*; may be repeated (default: all)")

	subcommand(cmd, "list", "Lists the trusted publisher domains", cobra.NoArgs, listDomains)
	subcommand(cmd, "show <domain>", "Shows a domain and its keys in use", cobra.ExactArgs(1), showDomain)
	subcommand(cmd, "probe <domain>", "Fetches the keys of a domain now; exit code 1 if they are unavailable", cobra.ExactArgs(1), probeDomain)
	subcommand(cmd, "remove <domain>", "Removes a domain: what it signed ends at once", cobra.ExactArgs(1), removeDomain)
	deny := subcommand(cmd, "deny <kid>", "Denies a publisher's key, even while the publisher's host is down", cobra.ExactArgs(1), denyKey)
	deny.Flags().String("note", "", "reason, for other operators")
	subcommand(cmd, "denied", "Lists the denied keys", cobra.NoArgs, listDenied)
	subcommand(cmd, "allow <kid>", "Ends the denial of a key", cobra.ExactArgs(1), allowKey)
}

func putDomain(c *call) error {
	body := admin.DomainBody{JWKSURI: c.text("jwks")}
	file := c.text("key")
	if (file == "") == (body.JWKSURI == "") {
		return errors.New("give exactly one of --key and --jwks")
	}
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("--key: %w", err)
		}
		body.SigningKeyPEM = string(text)
	}
	body.AllowedResourceIDs, _ = c.cmd.Flags().GetStringArray("allow")
	return run(c, http.MethodPut, c.record(domainsPath), body, func(d admin.ProbedDomain) string {
		return line("%s is trusted: %s", d.Domain.Domain, probeText(&d.Probe))
	})
}

func probeText(probe *admin.Probe) string {
	if probe.OK {
		return fmt.Sprintf("%d active keys", probe.ActiveKeys)
	}
	return "its keys are unavailable: " + probe.Error
}

// keySource returns where the keys of a domain come from.
func keySource(d *admin.Domain) string {
	if d.JWKSURI != "" {
		return d.JWKSURI
	}
	return "pinned"
}

func allowedResources(d *admin.Domain) string {
	if len(d.AllowedResourceIDs) == 0 {
		return "all"
	}
	return strings.Join(d.AllowedResourceIDs, ", ")
}

func listDomains(c *call) error {
	domains, err := collect(c, domainsPath, func(page admin.DomainList) []admin.Domain { return page.Domains },
		func(d admin.Domain) string { return d.Domain })
	if err != nil {
		return err
	}
	return c.print(admin.DomainList{Domains: domains}, table("DOMAIN\tKEYS\tMAY SIGN FOR\tUPDATED\tBY", domains, func(d admin.Domain) []string {
		return []string{d.Domain, keySource(&d), allowedResources(&d), d.UpdatedAt.Format(time.RFC3339), d.UpdatedBy}
	}))
}

func showDomain(c *call) error {
	return run(c, http.MethodGet, c.record(domainsPath), nil, domainText)
}

func probeDomain(c *call) error {
	var status admin.DomainStatus
	if err := c.request(http.MethodPost, c.record(domainsPath)+"/probe", nil, struct{}{}, &status); err != nil {
		return err
	}
	err := c.print(status, domainText(status))
	if !status.Probe.OK {
		err = errors.Join(err, fmt.Errorf("%s: %s", printable(status.Domain.Domain), printable(probeText(&status.Probe))))
	}
	return err
}

func domainText(d admin.DomainStatus) string {
	rows := [][]string{
		{"domain", d.Domain.Domain},
		{"keys", keySource(&d.Domain)},
		{"may sign for", allowedResources(&d.Domain)},
		{"probe", probeText(&d.Probe)},
		{"keys in use", strings.Join(d.KeyIDs, ", ")},
	}
	if d.AgeSeconds != nil {
		age := (time.Duration(*d.AgeSeconds) * time.Second).String()
		if d.Stale {
			age += ", stale: the last fetch failed"
		}
		rows = append(rows, []string{"age", age})
	}
	for _, dropped := range d.Dropped {
		rows = append(rows, []string{"ignored", dropped})
	}
	return fields(append(rows, []string{"updated", d.UpdatedAt.Format(time.RFC3339) + " by " + d.UpdatedBy}))
}

func removeDomain(c *call) error {
	return c.end(c.record(domainsPath), nil, "domain", "removed", "%s is no longer trusted")
}

func denyKey(c *call) error {
	body := admin.DenyKeyBody{KeyID: c.args[0], Note: c.text("note")}
	return run(c, http.MethodPost, deniedKeysPath, body, func(key admin.DeniedKey) string {
		return line("%s is denied: what it signed opens nothing", key.KeyID)
	})
}

func listDenied(c *call) error {
	return run(c, http.MethodGet, deniedKeysPath, nil, func(keys []admin.DeniedKey) string {
		return table("KID\tDENIED\tBY\tNOTE", keys, func(key admin.DeniedKey) []string {
			return []string{key.KeyID, key.DeniedAt.Format(time.RFC3339), key.DeniedBy, key.Note}
		})
	})
}

func allowKey(c *call) error {
	return c.end(deniedKeysPath, url.Values{"kid": {c.args[0]}}, "kid", "allowed", "%s is no longer denied")
}
