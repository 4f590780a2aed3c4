package store

import "context"

// RenewInvitation gives the invitation of a user to a profile another key, and the earlier
// one ends. A role without an invitation is returned as it is, without a key. It returns
// ErrNotFound when the user has no role on the profile.
func (w Writer) RenewInvitation(ctx context.Context, vendor, profile, user string) (GrantedRole, error) {
	return w.renewKey(ctx, vendor, profile, user, func(r *Role) *string { return &r.GrantKey })
}

// RenewRequest is RenewInvitation for the request of a user for a role.
func (w Writer) RenewRequest(ctx context.Context, vendor, profile, user string) (GrantedRole, error) {
	return w.renewKey(ctx, vendor, profile, user, func(r *Role) *string { return &r.RequestKey })
}

func (w Writer) renewKey(ctx context.Context, vendor, profile, user string, hash func(*Role) *string) (renewed GrantedRole, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		role, err := roleKind.need(t, profile, user)
		if err != nil {
			return err
		}
		renewed = GrantedRole{Role: *role}
		if *hash(&renewed.Role) == "" {
			return nil
		}
		if _, err := t.ensureUser(user, nil); err != nil { // not active
			return err
		}
		renewed.Key, *hash(&renewed.Role) = newMemberKey()
		return roleKind.put(t, &renewed.Role)
	})
	return renewed, err
}
