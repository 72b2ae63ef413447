package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// mappedFeatures are the features besides metadata.version in the order in which Kafka lists them.
func mappedFeatures() []string {
	return []string{metadata.KRaftVersionFeature, metadata.TransactionVersionFeature, metadata.GroupVersionFeature,
		metadata.ELRVersionFeature, metadata.ShareVersionFeature, metadata.StreamsVersionFeature}
}

// knownFeature finds a feature by name; metadata.version is none here, for it is set by release.
func knownFeature(name string) (metadata.SupportedFeature, bool) {
	f, ok := metadata.Feature(name)
	return f, ok && name != metadata.MetadataVersionFeature
}

func versionMapping(c *call, release string, given bool) error {
	if !given {
		release = metadata.MetadataVersionName(metadata.LatestMetadataVersion)
	}
	version, err := metadata.ParseMetadataVersion(release)
	if err != nil {
		return err
	}
	c.printf("%s=%d (%s)\n", metadata.MetadataVersionFeature, version, release)
	for _, name := range mappedFeatures() {
		f, _ := metadata.Feature(name)
		c.printf("%s=%d\n", name, f.Default(version))
	}
	return nil
}

func featureDependencies(c *call, features []string) error {
	for _, text := range features {
		name, levelText, ok := strings.Cut(text, "=")
		if !ok {
			return fmt.Errorf("Invalid feature format: %s. Expected format: 'feature=version' (e.g. 'group.version=1')", text)
		}
		name, levelText = strings.TrimSpace(name), strings.TrimSpace(levelText)
		level, err := featureLevel(levelText)
		if err != nil {
			return fmt.Errorf("Invalid version format: %s for feature %s", levelText, name)
		}
		if err := printDependencies(c, name, level); err != nil {
			return err
		}
	}
	return nil
}

func printDependencies(c *call, name string, level int16) error {
	if name == metadata.MetadataVersionFeature {
		if level < metadata.MinimumMetadataVersion || level > metadata.LatestMetadataVersion {
			return fmt.Errorf("Unknown metadata.version %d", level)
		}
		c.printf("%s=%d (%s) has no dependencies.\n", name, level, metadata.MetadataVersionName(level))
		return nil
	}
	f, ok := knownFeature(name)
	if !ok {
		return fmt.Errorf("Unknown feature: %s", name)
	}
	if level < f.Min || level > f.Max {
		return fmt.Errorf("Feature level %d is not supported for feature %s", level, name)
	}
	needed, ok := neededMetadataVersion(name, level)
	if !ok {
		c.printf("%s=%d has no dependencies.\n", name, level)
		return nil
	}
	c.printf("%s=%d requires:\n    %s=%d (%s)\n", name, level, metadata.MetadataVersionFeature, needed, metadata.MetadataVersionName(needed))
	return nil
}

// neededMetadataVersion asks CheckFeature, which knows the dependencies, for the first metadata.version that will do;
// ok is false when every one does. Levels of this release depend on nothing else.
func neededMetadataVersion(name string, level int16) (int16, bool) {
	for v := metadata.MinimumMetadataVersion; v <= metadata.LatestMetadataVersion; v++ {
		if metadata.CheckFeature(name, level, func(string) int16 { return v }) == nil {
			return v, v > metadata.MinimumMetadataVersion
		}
	}
	return metadata.LatestMetadataVersion, true
}

func featureLevel(text string) (int16, error) {
	n, err := strconv.ParseInt(text, 10, 16)
	return int16(n), err
}

// askedFeatures reads the --feature options of format.
func askedFeatures(features []string) (map[string]int16, error) {
	levels := map[string]int16{}
	for _, text := range features {
		name, levelText, ok := strings.Cut(text, "=")
		if !ok {
			return nil, runtimeException("Can't parse feature=level string " + text + ": equals sign not found.")
		}
		levelText = strings.TrimSpace(levelText)
		level, err := featureLevel(levelText)
		if err != nil {
			return nil, runtimeException("Can't parse feature=level string " + text + ": unable to parse " + levelText + " as a short.")
		}
		levels[strings.TrimSpace(name)] = level
	}
	return levels, nil
}

// features is what a cluster begins with.
type features struct {
	version int16 // metadata.version
	levels  map[string]int16
}

// newFeatures joins what was asked for with the defaults of the release (0: none was given), and checks it. dynamic says
// that the quorum keeps its voters itself, which is what kraft.version 1 means.
func newFeatures(release int16, asked map[string]int16, dynamic bool) (features, error) {
	f := features{version: release, levels: map[string]int16{}}
	if level, ok := asked[metadata.MetadataVersionFeature]; ok {
		if release != 0 {
			return f, fmt.Errorf("Use --release-version instead of --feature %s=X to avoid ambiguity.", metadata.MetadataVersionFeature)
		}
		if level < metadata.MinimumMetadataVersion || level > metadata.LatestMetadataVersion {
			return f, illegalArgument(fmt.Errorf("No MetadataVersion with feature level %d. Valid feature levels are from %d to %d.",
				level, metadata.MinimumMetadataVersion, metadata.LatestMetadataVersion))
		}
		f.version = level
	}
	if f.version == 0 {
		f.version = metadata.LatestMetadataVersion
	}
	names := mappedFeatures()
	slices.Sort(names)
	for _, name := range sortedNames(asked) {
		if name != metadata.MetadataVersionFeature && !slices.Contains(names, name) {
			return f, fmt.Errorf("Unsupported feature: %s. Supported features are: %s", name, strings.Join(names, ", "))
		}
	}
	for _, name := range names {
		supported, _ := metadata.Feature(name)
		f.levels[name] = supported.Default(f.version)
		if level, ok := asked[name]; ok {
			f.levels[name] = level
		}
	}
	level, given := asked[metadata.KRaftVersionFeature]
	if err := f.setKRaftVersion(level, given, dynamic); err != nil {
		return f, err
	}
	return f, f.check(names)
}

func sortedNames(levels map[string]int16) []string {
	var names []string
	for name := range levels { // sorted below
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (f features) setKRaftVersion(level int16, given, dynamic bool) error {
	const flags = "controller.quorum.voters is empty and one of the flags --standalone, --initial-controllers, or --no-initial-controllers is used. "
	switch {
	case given && level == 0 && dynamic:
		return fmt.Errorf("Cannot set kraft.version to 0 if " + flags + "For dynamic controllers support, try removing the --feature flag for kraft.version.")
	case given && level != 0 && !dynamic:
		return fmt.Errorf("Cannot set kraft.version to %d unless "+flags+"For dynamic controllers support, try using one of --standalone, "+
			"--initial-controllers, or --no-initial-controllers and removing controller.quorum.voters.", level)
	case !given && dynamic:
		level = 1
	case !given:
		level = 0
	}
	f.levels[metadata.KRaftVersionFeature] = level
	return nil
}

// check refuses levels that do not exist, and levels that need more of metadata.version than there is.
func (f features) check(names []string) error {
	for _, name := range names {
		supported, _ := metadata.Feature(name)
		level := f.levels[name]
		if level < supported.Min || level > supported.Max {
			return illegalArgument(fmt.Errorf("No feature:%s with feature level %d", name, level))
		}
		err := metadata.CheckFeature(name, level, func(other string) int16 {
			if other == metadata.MetadataVersionFeature {
				return f.version
			}
			return f.levels[other]
		})
		if err != nil {
			return illegalArgument(err)
		}
	}
	return nil
}

// records are those of bootstrap.checkpoint: metadata.version first, then the features above level 0 by name.
// kraft.version is told by control records instead.
func (f features) records() []schema.Record {
	records := []schema.Record{&schema.FeatureLevel{Name: metadata.MetadataVersionFeature, FeatureLevel: f.version}}
	for _, name := range sortedNames(f.levels) {
		if level := f.levels[name]; level > 0 && name != metadata.KRaftVersionFeature {
			records = append(records, &schema.FeatureLevel{Name: name, FeatureLevel: level})
		}
	}
	return records
}

// String is how Kafka prints the records.
func (f features) String() string {
	var texts []string
	for _, r := range f.records() {
		l := r.(*schema.FeatureLevel)
		texts = append(texts, fmt.Sprintf("ApiMessageAndVersion(FeatureLevelRecord(name='%s', featureLevel=%d) at version 0)", l.Name, l.FeatureLevel))
	}
	return fmt.Sprintf("BootstrapMetadata(records=[%s], metadataVersionLevel=%d, source=format command)", strings.Join(texts, ", "), f.version)
}
