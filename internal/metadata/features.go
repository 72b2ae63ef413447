package metadata

import (
	"fmt"
	"strings"
)

// Names of features.
const (
	MetadataVersionFeature    = "metadata.version"
	KRaftVersionFeature       = "kraft.version"
	TransactionVersionFeature = "transaction.version"
	GroupVersionFeature       = "group.version"
	ELRVersionFeature         = "eligible.leader.replicas.version"
	ShareVersionFeature       = "share.version"
	StreamsVersionFeature     = "streams.version"
)

// Levels of metadata.version that this release knows, and those from which on something is there.
const (
	MinimumMetadataVersion int16 = 7  // 3.3-IV3
	LatestMetadataVersion  int16 = 30 // 4.3-IV0, with which new clusters are formatted

	MVZkMigration            int16 = 8
	MVScram                  int16 = 11
	MVNoEpochBumpOnISRShrink int16 = 12 // a shrinking ISR no longer bumps the leader epoch
	MVTransactions           int16 = 13 // metadata transactions
	MVDelegationTokens       int16 = 14
	MVControllerRegistration int16 = 15
	MVDirectoryAssignment    int16 = 17 // JBOD
	MVELR                    int16 = 23
	MVCordonedLogDirs        int16 = 30
)

// releases names the levels from MinimumMetadataVersion to LatestMetadataVersion.
func releases() [24]string {
	return [...]string{
		"3.3-IV3", "3.4-IV0", "3.5-IV0", "3.5-IV1", "3.5-IV2", "3.6-IV0", "3.6-IV1", "3.6-IV2",
		"3.7-IV0", "3.7-IV1", "3.7-IV2", "3.7-IV3", "3.7-IV4", "3.8-IV0", "3.9-IV0",
		"4.0-IV0", "4.0-IV1", "4.0-IV2", "4.0-IV3", "4.1-IV0", "4.1-IV1", "4.2-IV0", "4.2-IV1", "4.3-IV0",
	}
}

// MetadataVersionName gives the release name of a level, e.g. 4.3-IV0, or its number if it is unknown.
func MetadataVersionName(level int16) string {
	if level < MinimumMetadataVersion || level > LatestMetadataVersion {
		return fmt.Sprint(level)
	}
	return releases()[level-MinimumMetadataVersion]
}

// ParseMetadataVersion reads a release name: 4.3-IV0 exactly; 4.3 and 4.3.1 mean the newest level of 4.3.
func ParseMetadataVersion(name string) (int16, error) {
	key := name
	if parts := strings.Split(name, "."); len(parts) > 2 {
		key = parts[0] + "." + parts[1]
	}
	names := releases()
	for n := len(names) - 1; n >= 0; n-- {
		if names[n] == key || strings.HasPrefix(names[n], key+"-") {
			return MinimumMetadataVersion + int16(n), nil
		}
	}
	return 0, fmt.Errorf("Unknown metadata.version '%s'. Supported metadata.version are: %s",
		name, strings.Join(names[:], ", "))
}

// MetadataChanged says whether going between the two levels changes what records hold, which a downgrade may lose.
func MetadataChanged(from, to int16) bool {
	for level := min(from, to) + 1; level <= max(from, to); level++ {
		switch level {
		case 8, 11, 13, 14, 15, 17, 23, 30:
			return true
		}
	}
	return false
}

// SupportedFeature is a feature that this release knows, with the levels it may have.
type SupportedFeature struct {
	Name     string
	Min, Max int16

	// bootstrap[l-1] is the metadata.version from which on new clusters have level l or higher.
	bootstrap []int16
}

// SupportedFeatures are all features by name. A broker registers them, kraft.version included.
func SupportedFeatures() []SupportedFeature {
	return []SupportedFeature{
		{ELRVersionFeature, 0, 1, []int16{26}},
		{GroupVersionFeature, 0, 1, []int16{22}},
		{KRaftVersionFeature, 0, 1, []int16{21}},
		{MetadataVersionFeature, MinimumMetadataVersion, LatestMetadataVersion, nil},
		{ShareVersionFeature, 0, 1, []int16{28}},
		{StreamsVersionFeature, 0, 1, []int16{29}},
		{TransactionVersionFeature, 0, 2, []int16{24, 24}},
	}
}

// Default is the level with which a cluster of that metadata.version is formatted. kraft.version follows the quorum's
// kind instead: its level says what the release could do.
func (f SupportedFeature) Default(metadataVersion int16) int16 {
	if f.Name == MetadataVersionFeature {
		return metadataVersion
	}
	level := f.Min
	for n, needed := range f.bootstrap {
		if metadataVersion >= needed {
			level = int16(n) + 1
		}
	}
	return level
}

// Feature finds a supported feature.
func Feature(name string) (SupportedFeature, bool) {
	for _, f := range SupportedFeatures() {
		if f.Name == name {
			return f, true
		}
	}
	return SupportedFeature{}, false
}

// CheckFeature says why a feature must not have a level beside the given levels of the others: every level above 0
// needs metadata.version at its minimum, and ELR needs it at 23.
func CheckFeature(name string, level int16, others func(string) int16) error {
	if name == MetadataVersionFeature || level < 1 {
		return nil
	}
	version := others(MetadataVersionFeature)
	if version < MinimumMetadataVersion {
		return fmt.Errorf("%s could not be set to %d because it depends on metadata.version=%d (%s)",
			name, level, MinimumMetadataVersion, MetadataVersionName(MinimumMetadataVersion))
	}
	if name == ELRVersionFeature && version < MVELR {
		return fmt.Errorf("%s could not be set to %d because it depends on metadata.version level %d", name, level, MVELR)
	}
	return nil
}
