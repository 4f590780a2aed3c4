package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	accountsPath        = "/api/accounts"
	accountProfilesPath = accountsPath + "/profiles"
	// maxCandidates bounds the results of a search while a text is typed.
	maxCandidates = 5
)

// Candidates are the results of a search while a text is typed.
type Candidates[T any] struct {
	Count   int `json:"count" doc:"The number of results; 0 if there are more than 5." example:"1"`
	Results []T `json:"results" doc:"The results; none if there are more than 5: then more has to be typed."`
}

// candidates returns those that a search finds, unless they are too many to choose from.
func candidates[R, T any](found []R, err error, wire func(R) T) (*body[Candidates[T]], error) {
	if len(found) > maxCandidates {
		found = nil
	}
	return &body[Candidates[T]]{Body: Candidates[T]{Count: len(found), Results: wireAll(found, wire)}}, err
}

// AccountSearch selects accounts while a text is typed.
type AccountSearch struct {
	SearchParams
	PeriodParams
}

// searched returns all records that the parameters select.
func searched[R any](f *finder[R], in *AccountSearch, from source[R]) ([]R, error) {
	q, err := f.parse(in.SearchParams, in.PeriodParams)
	if err != nil {
		return nil, err
	}
	return q.results(from.all)
}

// asProfile returns a user without a profile as searches of accounts have them.
func asProfile(u store.User) store.Profile {
	return store.Profile{Slug: u.Slug, Type: "user", Owner: u.Slug, FullName: printableName(&u), Contact: u.Contact, CreatedAt: u.CreatedAt}
}

func (a *api) registerAccounts() {
	tags := []string{"Accounts"}
	operation := func(id, path, summary string) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: http.MethodGet, Path: path, Tags: tags, Security: needs("accounts:read"),
			Summary: summary, Description: "It is for searches while a text is typed: more than 5 results are none.", Metadata: readers(readersOfBroker),
		}
	}
	all := operation("search-accounts", accountsPath, "Searches profiles and users")
	register(a, all, func(ctx context.Context, c *call, in *AccountSearch) (*body[Candidates[SubscriberProfile]], error) {
		found, err := a.accounts(ctx, c, in)
		return candidates(found, err, wireSubscriberProfile)
	})
	describeFind(a, all, profileFinder)
	profiles := operation("search-profiles", accountProfilesPath, "Searches profiles")
	register(a, profiles, func(ctx context.Context, c *call, in *AccountSearch) (*body[Candidates[SubscriberProfile]], error) {
		found, err := searched(profileFinder, in, readListing(ctx, c.store.ListProfiles(c.Vendor), itself))
		return candidates(found, err, wireSubscriberProfile)
	})
	describeFind(a, profiles, profileFinder)
	users := operation("search-users", accountsPath+"/users", "Searches users")
	register(a, users, func(ctx context.Context, c *call, in *AccountSearch) (*body[Candidates[UserSummary]], error) {
		found, err := searched(userFinder, in, readListing(ctx, c.store.ListUsers(c.Vendor), itself))
		return candidates(found, err, wireUserSummary)
	})
	describeFind(a, users, userFinder)
	register(a, huma.Operation{
		OperationID: "create-profile", Method: http.MethodPost, Path: accountProfilesPath, Tags: tags, Security: needs("accounts:write"),
		Summary:       "Creates a profile without a user",
		Description:   "A profile whose manager is a user is created by create-user-profile.",
		DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{readersKey: readersOfBroker, repetitionKey: repeatAnswer, rebuildKey: rebuild(func(ctx context.Context, vendor string, record []string) (rebuilt, error) {
			found, err := a.Store.ProfileRecord(ctx, vendor, record[0])
			return rebuilt{status: http.StatusCreated, location: "../" + below(profilesPath, found.Slug), body: wireProfile(found)}, err
		})},
	}, func(ctx context.Context, c *call, in *body[profileBody]) (*created[Profile], error) {
		wanted, err := in.Body.profile()
		if err != nil {
			return nil, err
		}
		made, err := c.store.CreateProfile(ctx, c.Vendor, wanted)
		return a.newProfile(ctx, c, "../", made, err)
	})
	register(a, huma.Operation{
		OperationID: "get-account", Method: http.MethodGet, Path: accountProfilesPath + "/{profile}", Tags: tags, Security: needs("accounts:read"),
		Summary: "Returns what names a profile", Metadata: readers(readersOfBroker),
	}, func(ctx context.Context, c *call, in *ProfilePath) (*body[SubscriberProfile], error) {
		found, err := c.store.ProfileRecord(ctx, c.Vendor, in.Profile)
		return &body[SubscriberProfile]{Body: wireSubscriberProfile(found)}, err
	})
}

// accounts returns the profiles and the users without a personal profile that the parameters
// select.
func (a *api) accounts(ctx context.Context, c *call, in *AccountSearch) ([]store.Profile, error) {
	found, err := searched(profileFinder, in, readListing(ctx, c.store.ListProfiles(c.Vendor), itself))
	if err != nil {
		return nil, err
	}
	owners := map[string]bool{}
	for _, p := range found {
		owners[p.Owner] = p.Owner != ""
	}
	users, err := searched(profileFinder, in, readListing(ctx, c.store.ListUsers(c.Vendor), asProfile))
	for _, u := range users {
		if !owners[u.Owner] {
			found = append(found, u)
		}
	}
	if q, _ := profileFinder.parse(in.SearchParams, in.PeriodParams); q != nil {
		q.sort(found)
	}
	return found, err
}
