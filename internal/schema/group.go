package schema

// zero says that the metadata are what an absent field holds, which is not null.
func (x *ClassicMemberMetadata) zero() bool {
	return x.SessionTimeoutMillis == 0 && len(x.SupportedProtocols) == 0
}
