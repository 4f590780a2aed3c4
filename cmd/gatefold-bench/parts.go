package main

import (
	"context"
	"slices"
	"strings"
)

// part is something that is measured by itself: a few rows of the table.
type part struct {
	name    string
	rows    []string // their names, or how those begin
	measure func(*bench, context.Context) error
}

// parts are what is measured, in this order. Each starts what it needs.
func parts() []part {
	return []part{
		{"redemptions", []string{rowRedemptions}, (*bench).redemptions},
		{"redemptions in Redis", []string{rowRedisRedemptions}, (*bench).redisRedemptions},
		{"revocation", []string{rowRevokedThere, rowRevokedHere}, (*bench).revocation},
		{"starting", []string{rowStarting}, (*bench).starting},
		{"memory", []string{rowMemory}, (*bench).memory},
		{partProxied, pairNames(), (*bench).proxied},
		{"publishing rules", []string{rowPublishing, rowPublishingDelay}, (*bench).publishing},
		{"a flood of forged tokens", []string{rowFlood}, (*bench).flood},
	}
}

// partProxied is the part whose rows are measured each for itself.
const partProxied = "requests through the proxy"

// wants says whether one of these names was asked for.
func (o *options) wants(names ...string) bool {
	return o.only == nil || slices.ContainsFunc(names, o.only.MatchString)
}

// chosen are the parts that are wanted, by their name or by that of a row.
func (o *options) chosen() []part {
	return slices.DeleteFunc(parts(), func(p part) bool { return !o.wants(append(p.rows, p.name)...) })
}

// partNames lists them for the help.
func partNames() string {
	all := parts()
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].name
	}
	return strings.Join(names, ", ")
}

// need does what several parts need, once, and returns how it went.
func (b *bench) need(what string, do func() error) error {
	if err, done := b.needed[what]; done {
		return err
	}
	b.progress("%s", what)
	b.needed[what] = do()
	return b.needed[what]
}
