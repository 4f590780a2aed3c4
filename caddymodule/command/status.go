package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/siteaudit"
)

func statusCommand(cmd *cobra.Command) { setRun(cmd, cobra.NoArgs, showStatus) }

// showStatus prints the state of the node. It returns an error if the node is not
// ok, so that scripts can use the exit code.
func showStatus(c *call) error {
	var health admin.Health
	status, answer, err := c.send(http.MethodGet, "/health", nil, nil)
	if err != nil {
		return err
	}
	if status != http.StatusOK && status != http.StatusServiceUnavailable || json.Unmarshal(answer, &health) != nil || health.Status == "" {
		return answerError(status, answer)
	}
	report, err := sites(c)
	if err != nil {
		return err
	}
	text := fields(healthRows(&health))
	if report != nil {
		text += "\n" + printableLines(report.Text())
	}
	err = c.print(state{&health, report}, text)
	switch {
	case health.Status == "ok":
		return err
	case health.Status == "stale" && health.Store.LeftSeconds != nil:
		return errors.Join(err, fmt.Errorf("the node answers from memory, for %.0f s more: %s", *health.Store.LeftSeconds, health.Store.Error))
	default:
		return errors.Join(err, errors.New("the node is failing: "+health.Store.Error))
	}
}

// state is what status prints as JSON.
type state struct {
	*admin.Health
	Routes *siteaudit.Report `json:"routes,omitempty"`
}

// SitesPath is the path of the ways through the running configuration, below
// AdminPrefix.
const SitesPath = "/sites-audit"

// sites returns the ways through the running configuration; nil from a server that
// cannot tell.
func sites(c *call) (*siteaudit.Report, error) {
	status, answer, err := c.send(http.MethodGet, SitesPath, nil, nil)
	if err != nil || status != http.StatusOK {
		return nil, err
	}
	report := new(siteaudit.Report)
	return report, decode(answer, report)
}

func healthRows(h *admin.Health) [][]string {
	reachable := "reachable"
	if !h.Store.Reachable {
		reachable = "not reachable: " + h.Store.Error
	}
	rows := [][]string{
		{"status", h.Status},
		{"store", reachable},
		{"snapshot version", strconv.FormatUint(h.SnapshotVersion, 10)},
		{"self-checks", fmt.Sprintf("%d, %d failed", h.SelfChecks.Checked, h.SelfChecks.Failed)},
	}
	for _, vendor := range h.Vendors {
		state := fmt.Sprintf("feed at %d, no key yet", vendor.FeedPosition)
		if keys := vendor.Keys; keys != nil {
			state = fmt.Sprintf("feed at %d, %s signs for %s, %d verify", vendor.FeedPosition, keys.Signing,
				time.Duration(keys.AgeSeconds)*time.Second, keys.Verifying)
		}
		rows = append(rows, []string{"vendor " + vendor.Vendor, state})
	}
	for _, set := range h.KeySets {
		state := "no keys yet"
		if set.AgeSeconds != nil {
			state = fmt.Sprintf("%d keys, %v old", set.Keys, time.Duration(*set.AgeSeconds)*time.Second)
		}
		if set.Error != "" {
			state += "; " + set.Error
		}
		rows = append(rows, []string{"keys of " + set.URL, state})
	}
	if h.MoreKeySets > 0 {
		rows = append(rows, []string{"more key sets", fmt.Sprintf("%d, none in a worse state", h.MoreKeySets)})
	}
	return rows
}
