// Stands in for the little of Apple's Foundation that the documentation's Objective-C uses, so that it is checked on
// Linux.
__attribute__((objc_root_class))
@interface NSObject
- (id)copy;
@end

@interface NSString : NSObject
@property(readonly) const char *UTF8String __attribute__((objc_returns_inner_pointer));
+ (instancetype)stringWithUTF8String:(const char *)text;
@end

typedef const void *CFTypeRef;
static inline CFTypeRef CFBridgingRetain(id object) { return (__bridge_retained CFTypeRef)object; }
static inline id CFBridgingRelease(CFTypeRef object) { return (__bridge_transfer id)object; }
