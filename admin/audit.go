package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

// AuditEntry is an entry of the audit log.
type AuditEntry struct {
	ID        string        `json:"id" doc:"The entry's id." example:"000fz3k8q1r5s6t7v8w9x0y1z2"`
	At        time.Time     `json:"at" doc:"The time of the change." example:"2027-01-01T09:30:00Z"`
	Actor     string        `json:"actor" doc:"The client of this API, or the local operator, that made the change."`
	Operation string        `json:"operation" doc:"The operationId of the call."`
	Records   []AuditRecord `json:"records" doc:"The changed records, at most 10. An import is logged as one record."`
	More      int           `json:"more" doc:"The number of changed records that are not listed."`
}

// AuditRecord is the change of one record.
type AuditRecord struct {
	Kind      string          `json:"kind" doc:"The kind of record." example:"grant"`
	ID        string          `json:"id" doc:"The record's path: parent ids first." example:"src_123abc/grant_123abc"`
	Before    json.RawMessage `json:"before,omitempty" doc:"The previous values of the changed members; absent for a new record."`
	After     json.RawMessage `json:"after,omitempty" doc:"The new values of the changed members; absent for a removed record."`
	Truncated bool            `json:"truncated,omitempty" doc:"Whether before or after was too long to be logged."`
}

func wireAudit(entry store.AuditEntry) AuditEntry {
	return AuditEntry{
		ID: entry.ID, At: entry.At, Actor: entry.Actor, Operation: entry.Operation,
		Records: wireAll(entry.Records, wireAuditRecord), More: entry.More,
	}
}

func wireAuditRecord(record store.AuditRecord) AuditRecord {
	return AuditRecord{
		Kind: record.Kind, ID: strings.Join(record.ID, "/"),
		Before: record.Before, After: record.After, Truncated: record.Truncated,
	}
}

// auditParams select entries of the log.
type auditParams struct {
	Actor     string    `query:"actor" maxLength:"255" doc:"Only changes by this client."`
	Operation string    `query:"operation" maxLength:"64" doc:"Only changes by this operation."`
	Kind      string    `query:"kind" maxLength:"64" doc:"Only entries about records of this kind." example:"grant"`
	Record    string    `query:"record" maxLength:"512" doc:"Only entries about the record with this path, or about a record below it."`
	Since     time.Time `query:"since" doc:"The start of the period (inclusive)."`
	Until     time.Time `query:"until" doc:"The end of the period (exclusive)."`
	PageParams
}

func (p *auditParams) query() store.AuditQuery {
	return store.AuditQuery{
		Actor: p.Actor, Operation: p.Operation, Kind: p.Kind, Record: p.Record, Since: p.Since, Until: p.Until, Page: p.page(),
	}
}

func (a *api) registerAudit() {
	tags := []string{"Audit"}
	description := "Every change is logged atomically with the change, without secrets, and kept for a year. " +
		"The log is listed in pages, never whole, as a year of it may be millions of entries: follow Link to its end. " +
		"A page may have fewer entries than its limit, even none, and still have a next page: a call examines at most 20,000 entries."
	register(a, huma.Operation{
		OperationID: "list-audit", Method: http.MethodGet, Path: "/management/audit", Tags: tags, Security: needs("audit:read"),
		Summary: "Lists changes, newest first", Description: description,
	}, func(ctx context.Context, c *call, in *auditParams) (*listing[AuditEntry], error) {
		return a.audit(ctx, c, c.Vendor, in)
	})
	register(a, huma.Operation{
		OperationID: "list-system-audit", Method: http.MethodGet, Path: "/management/system-audit", Tags: tags, Security: needs("vendors:read"),
		Summary: "Lists changes of records that belong to no vendor, newest first", Description: description,
	}, func(ctx context.Context, c *call, in *auditParams) (*listing[AuditEntry], error) {
		return a.audit(ctx, c, store.SystemPartition, in)
	})
}

func (a *api) audit(ctx context.Context, c *call, partition string, in *auditParams) (*listing[AuditEntry], error) {
	// A kind that does not exist would look like no change.
	if kinds := store.AuditKinds(); in.Kind != "" && !slices.Contains(kinds, in.Kind) {
		return nil, invalidAt("query.kind", "must be one of "+strings.Join(kinds, ", "))
	}
	if err := checkFrom(in.From, ""); err != nil {
		return nil, err
	}
	found, next, more, err := a.Store.Audit(ctx, partition, in.query())
	if err != nil {
		return nil, err
	}
	page := &listing[AuditEntry]{Body: wireAll(found, wireAudit)}
	if more {
		page.Link = c.nextLink(in.Limit, next)
	}
	return page, nil
}
