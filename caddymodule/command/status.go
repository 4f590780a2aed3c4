package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/admin/condition"
	"github.com/gatefold/gatefold/caddymodule/siteaudit"
)

// HealthPath is the path of the node's state, below AdminPrefix.
const HealthPath = "/health"

const (
	// defaultWait is how long --wait without a duration waits.
	defaultWait = time.Minute
	// waitPause is the pause between two looks at a server that is not ready.
	waitPause = 100 * time.Millisecond
)

func statusCommand(cmd *cobra.Command) {
	setRun(cmd, cobra.MaximumNArgs(1), showStatus)
	cmd.Use = "status [--wait [<duration>]]"
	cmd.Flags().Duration("wait", 0, "wait until the server answers commands and can decide, at most this long; the exit code is then 0 whatever else is wrong")
	cmd.Flags().Lookup("wait").NoOptDefVal = defaultWait.String()
}

// showStatus prints the state of the node. It returns an error if the node is not
// ok, so that scripts can use the exit code.
func showStatus(c *call) error {
	wait, err := waitOf(c)
	if err != nil {
		return err
	}
	health, err := readHealth(c)
	for until := time.Now().Add(wait); wait > 0 && !isReady(health, err); health, err = readHealth(c) {
		if time.Now().After(until) {
			return notReady(wait, health, err)
		}
		select {
		case <-c.cmd.Context().Done():
			return c.cmd.Context().Err()
		case <-time.After(waitPause):
		}
	}
	if err != nil {
		return err
	}
	report, err := sites(c)
	if err != nil {
		return err
	}
	text := fields(healthRows(health)) + conditionText(health.Conditions)
	if report != nil {
		text += "\n" + printableLines(report.Text())
	}
	if err := c.print(state{health, report}, text); err != nil || wait > 0 {
		return err
	}
	return verdict(health)
}

// waitOf returns the value of --wait, whose duration may be an argument of its own.
func waitOf(c *call) (time.Duration, error) {
	wait, err := c.cmd.Flags().GetDuration("wait")
	if err == nil && len(c.args) == 1 {
		if !c.changed("wait") {
			return 0, fmt.Errorf("unknown argument %q", c.args[0])
		}
		wait, err = time.ParseDuration(c.args[0])
	}
	if err != nil || wait < 0 || wait == 0 && c.changed("wait") {
		return 0, errors.New("--wait takes a duration such as 30s")
	}
	return wait, nil
}

// readHealth returns the state of the node.
func readHealth(c *call) (*admin.Health, error) {
	health := new(admin.Health)
	status, answer, err := c.send(http.MethodGet, HealthPath, nil, nil)
	switch {
	case err != nil:
		return nil, err
	case status != http.StatusOK && status != http.StatusServiceUnavailable || json.Unmarshal(answer, health) != nil || health.Status == "":
		return nil, answerError(status, answer)
	}
	return health, nil
}

func isReady(health *admin.Health, err error) bool {
	return err == nil && health.Status != admin.HealthFailing
}

func notReady(wait time.Duration, health *admin.Health, err error) error {
	if err == nil {
		err = verdict(health)
	}
	return fmt.Errorf("the server is not ready after %v: %w", wait, err)
}

// verdict returns an error unless the node is ok.
func verdict(health *admin.Health) error {
	switch {
	case health.Status == admin.HealthOK:
		return nil
	case health.Status == admin.HealthStale && health.Store.LeftSeconds != nil:
		return fmt.Errorf("the node answers from memory, for %.0f s more: %s", *health.Store.LeftSeconds, health.Store.Error)
	case health.Status == admin.HealthDegraded:
		var names []string
		for _, c := range health.Conditions {
			if c.Severity != condition.Notice && !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
		return errors.New("an operator must act: " + strings.Join(names, ", "))
	default:
		return errors.New("the node is failing: " + health.Store.Error)
	}
}

// conditionText describes what is wrong, each condition in lines of its own.
func conditionText(conditions []condition.Condition) string {
	var text strings.Builder
	for _, c := range conditions {
		text.WriteString("\n" + line("%s", strings.TrimSpace(fmt.Sprintf("%s: %s %s", strings.ToUpper(string(c.Severity)), c.Name, c.Subject))))
		text.WriteString("  " + line("since %s: %s", c.Since.Format(time.RFC3339), c.What))
		text.WriteString("  " + line("%s", c.Remedy))
	}
	return text.String()
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
	if file := h.Store.File; file != nil {
		checked := "not checked yet"
		if file.CheckedAt != nil {
			checked = "checked at " + file.CheckedAt.UTC().Format(time.RFC3339)
		}
		rows = append(rows, []string{"database file", fmt.Sprintf("%s, %s of it free; %s", humanize.IBytes(uint64(file.Bytes)), humanize.IBytes(uint64(file.FreeBytes)), checked)}) //nolint:gosec // never negative
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
