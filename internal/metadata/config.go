package metadata

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/klamm-io/klamm/internal/schema"
)

// ConfigResource names what a config belongs to.
type ConfigResource struct {
	Type int8
	Name string
}

func (r ConfigResource) compare(o ConfigResource) int {
	return cmp.Or(cmp.Compare(r.Type, o.Type), cmp.Compare(r.Name, o.Name))
}

// Config gives the dynamic configuration of a resource. The map may be nil and must not be written to.
func (i *Image) Config(resourceType int8, name string) map[string]string {
	values, _ := i.configs.get(ConfigResource{resourceType, name})
	return values
}

// ConfigResources walks the names of the resources of a type that have a dynamic configuration, in order.
func (i *Image) ConfigResources(resourceType int8) iter.Seq[string] {
	return func(yield func(string) bool) {
		for r := range i.configs.from(ConfigResource{Type: resourceType}) {
			if r.Type != resourceType || !yield(r.Name) {
				return
			}
		}
	}
}

// Quota is the quota configuration of one entity. Entity is sorted by type; a nil name is the default entity.
type Quota struct {
	Entity []schema.QuotaEntity
	Values map[string]float64
}

// quotaKey orders quotas and tells entities apart; lengths keep names from running into each other.
func quotaKey(entity []schema.QuotaEntity) string {
	var b strings.Builder
	for _, e := range entity {
		b.WriteString(e.EntityType)
		if e.EntityName == nil {
			b.WriteString("\x00-\x00")
			continue
		}
		b.WriteString("\x00" + strconv.Itoa(len(*e.EntityName)) + "\x00" + *e.EntityName + "\x00")
	}
	return b.String()
}

// sortedEntity copies an entity in the order that quotaKey wants.
func sortedEntity(entity []schema.QuotaEntity) []schema.QuotaEntity {
	return slices.SortedStableFunc(slices.Values(entity), func(a, b schema.QuotaEntity) int {
		return cmp.Compare(a.EntityType, b.EntityType)
	})
}

// Quotas walks the client quotas in a fixed order.
func (i *Image) Quotas() iter.Seq[*Quota] { return i.quotas.values() }

// Quota finds the quotas of an entity, given in any order of its parts.
func (i *Image) Quota(entity []schema.QuotaEntity) (*Quota, bool) {
	return i.quotas.get(quotaKey(sortedEntity(entity)))
}

// ACLs walks the access control entries in the order of their ids.
func (i *Image) ACLs() iter.Seq[*schema.AccessControlEntry] { return i.acls.values() }

// ACL finds an access control entry by its id.
func (i *Image) ACL(id schema.UUID) (*schema.AccessControlEntry, bool) { return i.acls.get(id) }

// ScramUser names a SCRAM credential. Mechanism is 1 for SCRAM-SHA-256, 2 for SCRAM-SHA-512.
type ScramUser struct {
	Mechanism int8
	Name      string
}

func (u ScramUser) compare(o ScramUser) int {
	return cmp.Or(cmp.Compare(u.Mechanism, o.Mechanism), cmp.Compare(u.Name, o.Name))
}

// SCRAM finds a user's credential.
func (i *Image) SCRAM(mechanism int8, name string) (*schema.UserScramCredential, bool) {
	return i.scram.get(ScramUser{mechanism, name})
}

// SCRAMs walks the credentials by mechanism and name.
func (i *Image) SCRAMs() iter.Seq[*schema.UserScramCredential] { return i.scram.values() }

// DelegationToken finds a token by its id.
func (i *Image) DelegationToken(id string) (*schema.DelegationToken, bool) { return i.tokens.get(id) }

// DelegationTokens walks the tokens in the order of their ids.
func (i *Image) DelegationTokens() iter.Seq[*schema.DelegationToken] { return i.tokens.values() }

// sortedKeys is how this package walks a map.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
