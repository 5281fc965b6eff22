package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

var cases = map[string]func() error{
	"bucket":         bucketLife,
	"put-small":      func() error { return roundTrip("put/small", 1000) },
	"put-empty":      func() error { return roundTrip("put/empty", 0) },
	"put-large":      func() error { return roundTrip("put/large", 12<<20) },
	"multipart":      multipart,
	"abort":          abort,
	"get":            get,
	"ranges":         ranges,
	"head":           head,
	"list":           list,
	"copy":           copyObject,
	"copy-multipart": copyMultipart,
	"delete-many":    deleteMany,
	"metadata":       metadata,
	"tagging":        tagging,
	"presign-get":    presignGet,
	"presign-put":    presignPut,
	"conditional":    conditional,
	"checksums":      checksums,
	"versioning":     versioning,
}

func bucketLife() error {
	name := aws.String(*bucket + "-new")
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name}); err != nil {
		return err
	}
	if _, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: name}); err != nil {
		return err
	}
	all, err := client.ListBuckets(ctx, &s3.ListBucketsInput{})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all.Buckets, func(b types.Bucket) bool { return *b.Name == *name }) {
		return errors.New("the new bucket is not listed")
	}
	if _, err := client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: name}); err != nil {
		return err
	}
	_, err = client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: name})
	return refused(err, "NotFound", 404)
}

func roundTrip(key string, size int) error {
	data := blob(size, 1)
	answer, err := put(key, data)
	if err != nil {
		return err
	}
	return first(check(answer.ETag != nil, "PutObject answered without an ETag"), holds(key, data))
}

func multipart() error {
	data := blob(2*part+1000, 2)
	// Not seekable, so the manager reads part after part.
	input := &s3.PutObjectInput{Bucket: bucket, Key: aws.String("multipart"), Body: bytes.NewBuffer(data)}
	upload := manager.NewUploader(client, func(u *manager.Uploader) { u.PartSize = part })
	if _, err := upload.Upload(ctx, input); err != nil {
		return err
	}
	got := manager.NewWriteAtBuffer(nil)
	download := manager.NewDownloader(client, func(d *manager.Downloader) { d.PartSize = part })
	if _, err := download.Download(ctx, got, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("multipart")}); err != nil {
		return err
	}
	return same(got.Bytes(), data)
}

func abort() error {
	key := aws.String("abort")
	created, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
	if err != nil {
		return err
	}
	sent := &s3.UploadPartInput{Bucket: bucket, Key: key, UploadId: created.UploadId, PartNumber: aws.Int32(1), Body: bytes.NewReader(blob(part, 3))}
	if _, err := client.UploadPart(ctx, sent); err != nil {
		return err
	}
	if _, err := client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: bucket, Key: key, UploadId: created.UploadId}); err != nil {
		return err
	}
	left, err := client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: bucket})
	if err != nil {
		return err
	}
	if slices.ContainsFunc(left.Uploads, func(u types.MultipartUpload) bool { return *u.Key == "abort" }) {
		return errors.New("the aborted upload is still listed")
	}
	_, err = read("abort")
	return refused(err, "NoSuchKey", 0)
}

func get() error {
	data := blob(100_000, 4)
	sent, err := put("get", data)
	if err != nil {
		return err
	}
	got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("get")})
	if err != nil {
		return err
	}
	text, err := body(got, nil)
	_, missing := read("get-nothing")
	return first(err, equal(*got.ETag, *sent.ETag), equal(*got.ContentLength, int64(100_000)), same(text, data), refused(missing, "NoSuchKey", 0))
}

func ranges() error {
	data := blob(40_000, 5)
	if _, err := put("ranges", data); err != nil {
		return err
	}
	ranged := func(text string) ([]byte, error) {
		return body(client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("ranges"), Range: &text}))
	}
	for text, piece := range map[string][]byte{
		"bytes=0-9":         data[:10],
		"bytes=16380-16390": data[16380:16391],
		"bytes=39990-":      data[39990:],
		"bytes=-5":          data[39995:],
	} {
		got, err := ranged(text)
		if err := first(err, same(got, piece)); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	_, err := ranged("bytes=40000-")
	return refused(err, "InvalidRange", 0)
}

func head() error {
	sent, err := put("head", blob(70_000, 6))
	if err != nil {
		return err
	}
	got, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("head")})
	if err != nil {
		return err
	}
	_, missing := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("head-nothing")})
	return first(equal(*got.ContentLength, int64(70_000)), equal(*got.ETag, *sent.ETag), refused(missing, "NotFound", 404))
}

func list() error {
	expected, found := map[string]int64{}, map[string]int64{}
	for n, key := range oddKeys {
		if _, err := put(key, blob(10+n, 7)); err != nil {
			return err
		}
		expected[key] = int64(10 + n)
	}
	input := &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("odd/"), MaxKeys: aws.Int32(2)}
	pages := s3.NewListObjectsV2Paginator(client, input)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, object := range page.Contents {
			found[*object.Key] = *object.Size
		}
	}
	page, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("odd/"), Delimiter: aws.String("/")})
	if err != nil {
		return err
	}
	folders := []string{}
	for _, prefix := range page.CommonPrefixes {
		folders = append(folders, *prefix.Prefix)
	}
	sort.Strings(folders)
	return first(equal(found, expected), equal(folders, []string{"odd/sub/", "odd/ü/"}), equal(*page.KeyCount, int32(7)))
}

func copyObject() error {
	data := blob(50_000, 8)
	_, err := client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: bucket, Key: aws.String("copy source"), Body: bytes.NewReader(data),
		Metadata: map[string]string{"colour": "blue"}, ContentType: aws.String("text/x-copy"),
	})
	if err != nil {
		return err
	}
	input := &s3.CopyObjectInput{Bucket: bucket, Key: aws.String("copied"), CopySource: aws.String(*bucket + "/copy%20source")}
	if _, err := client.CopyObject(ctx, input); err != nil {
		return err
	}
	if err := holds("copied", data); err != nil {
		return err
	}
	look := &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("copied")}
	got, err := client.HeadObject(ctx, look)
	if err != nil {
		return err
	}
	if err := first(equal(*got.ContentType, "text/x-copy"), equal(got.Metadata, map[string]string{"colour": "blue"})); err != nil {
		return err
	}
	input.MetadataDirective, input.Metadata = types.MetadataDirectiveReplace, map[string]string{"colour": "red"}
	if _, err := client.CopyObject(ctx, input); err != nil {
		return err
	}
	if got, err = client.HeadObject(ctx, look); err != nil {
		return err
	}
	return equal(got.Metadata, map[string]string{"colour": "red"})
}

func copyMultipart() error {
	data := blob(part+70_000, 9)
	if _, err := put("copy parts", data); err != nil {
		return err
	}
	key := aws.String("copied parts")
	created, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
	if err != nil {
		return err
	}
	done := &types.CompletedMultipartUpload{}
	for n, text := range []string{fmt.Sprintf("bytes=0-%d", part-1), fmt.Sprintf("bytes=%d-%d", part, len(data)-1)} {
		number := aws.Int32(int32(n + 1))
		copied, err := client.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
			Bucket: bucket, Key: key, UploadId: created.UploadId, PartNumber: number,
			CopySource: aws.String(*bucket + "/copy%20parts"), CopySourceRange: &text,
		})
		if err != nil {
			return err
		}
		done.Parts = append(done.Parts, types.CompletedPart{PartNumber: number, ETag: copied.CopyPartResult.ETag})
	}
	complete := &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: key, UploadId: created.UploadId, MultipartUpload: done}
	if _, err := client.CompleteMultipartUpload(ctx, complete); err != nil {
		return err
	}
	return holds("copied parts", data)
}

func deleteMany() error {
	many := []types.ObjectIdentifier{}
	for n := range 10 {
		key := fmt.Sprintf("many/%d", n)
		if n > 0 {
			if _, err := put(key, []byte("x")); err != nil {
				return err
			}
		}
		many = append(many, types.ObjectIdentifier{Key: &key})
	}
	answer, err := client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{Objects: many}})
	if err != nil {
		return err
	}
	left, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("many/")})
	if err != nil {
		return err
	}
	return first(equal(len(answer.Deleted), 10), equal(*left.KeyCount, int32(0)))
}

func metadata() error {
	sent := map[string]string{"colour": "blue", "a-longer-name": "with spaces, and =signs"}
	_, err := client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: bucket, Key: aws.String("metadata"), Body: bytes.NewReader(blob(10, 10)), Metadata: sent,
		ContentType: aws.String("text/x-test; charset=utf-8"), CacheControl: aws.String("max-age=60"),
		ContentLanguage: aws.String("de"), ContentDisposition: aws.String(`attachment; filename="x.txt"`),
	})
	if err != nil {
		return err
	}
	got, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("metadata")})
	if err != nil {
		return err
	}
	return first(
		equal(got.Metadata, sent), equal(*got.ContentType, "text/x-test; charset=utf-8"), equal(*got.CacheControl, "max-age=60"),
		equal(*got.ContentLanguage, "de"), equal(*got.ContentDisposition, `attachment; filename="x.txt"`),
	)
}

func tagging() error {
	key := aws.String("tagging")
	tags := func(expected map[string]string) error {
		got, err := client.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: bucket, Key: key})
		if err != nil {
			return err
		}
		found := map[string]string{}
		for _, tag := range got.TagSet {
			found[*tag.Key] = *tag.Value
		}
		return equal(found, expected)
	}
	input := &s3.PutObjectInput{Bucket: bucket, Key: key, Body: bytes.NewReader(blob(10, 11)), Tagging: aws.String("team=blue&cost=a%20b")}
	if _, err := client.PutObject(ctx, input); err != nil {
		return err
	}
	if err := tags(map[string]string{"team": "blue", "cost": "a b"}); err != nil {
		return err
	}
	set := &types.Tagging{TagSet: []types.Tag{{Key: aws.String("only"), Value: aws.String("one")}}}
	if _, err := client.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: bucket, Key: key, Tagging: set}); err != nil {
		return err
	}
	if err := first(tags(map[string]string{"only": "one"}), holds("tagging", blob(10, 11))); err != nil {
		return err
	}
	if _, err := client.DeleteObjectTagging(ctx, &s3.DeleteObjectTaggingInput{Bucket: bucket, Key: key}); err != nil {
		return err
	}
	return tags(map[string]string{})
}

func presignGet() error {
	if _, err := put("presign get", blob(2000, 12)); err != nil {
		return err
	}
	input := &s3.GetObjectInput{Bucket: bucket, Key: aws.String("presign get")}
	signed, err := s3.NewPresignClient(client).PresignGetObject(ctx, input, s3.WithPresignExpires(time.Minute))
	if err != nil {
		return err
	}
	return fetch(signed.URL, blob(2000, 12))
}

func presignPut() error {
	input := &s3.PutObjectInput{Bucket: bucket, Key: aws.String("presign put")}
	signed, err := s3.NewPresignClient(client).PresignPutObject(ctx, input, s3.WithPresignExpires(time.Minute))
	if err != nil {
		return err
	}
	return first(send(signed.URL, blob(2000, 13)), holds("presign put", blob(2000, 13)))
}

func conditional() error {
	key := aws.String("conditional")
	if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key}); err != nil {
		return err
	}
	write := func(ifMatch, ifNoneMatch *string) (*s3.PutObjectOutput, error) {
		return client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: bytes.NewReader(blob(10, 14)), IfMatch: ifMatch, IfNoneMatch: ifNoneMatch})
	}
	look := func(ifMatch, ifNoneMatch *string) error {
		_, err := body(client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, IfMatch: ifMatch, IfNoneMatch: ifNoneMatch}))
		return err
	}
	created, err := write(nil, aws.String("*"))
	if err != nil {
		return err
	}
	_, again := write(nil, aws.String("*"))
	_, other := write(aws.String(`"00000000000000000000000000000000"`), nil)
	if err := first(
		refused(again, "PreconditionFailed", 0), refused(other, "PreconditionFailed", 0), look(created.ETag, nil),
		refused(look(nil, created.ETag), "NotModified", 304), refused(look(aws.String(`"other"`), nil), "PreconditionFailed", 0),
	); err != nil {
		return err
	}
	_, err = write(created.ETag, nil)
	return err
}

func checksums() error {
	key := aws.String("checksums")
	for _, algorithm := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmSha256, types.ChecksumAlgorithmCrc64nvme} {
		input := &s3.PutObjectInput{Bucket: bucket, Key: key, Body: bytes.NewReader(blob(30_000, 15)), ChecksumAlgorithm: algorithm}
		if _, err := client.PutObject(ctx, input); err != nil {
			return err
		}
		got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			return err
		}
		value := map[types.ChecksumAlgorithm]*string{
			types.ChecksumAlgorithmCrc32c: got.ChecksumCRC32C, types.ChecksumAlgorithmSha256: got.ChecksumSHA256,
			types.ChecksumAlgorithmCrc64nvme: got.ChecksumCRC64NVME,
		}[algorithm]
		text, err := body(got, nil)
		if err := first(err, check(value != nil, "%s is not given back", algorithm), same(text, blob(30_000, 15))); err != nil {
			return err
		}
	}
	wrong := &s3.PutObjectInput{Bucket: bucket, Key: key, Body: bytes.NewReader(blob(9, 0)), ChecksumCRC32C: aws.String("AAAAAA==")}
	_, err := client.PutObject(ctx, wrong)
	return first(refused(err, "BadDigest", 0), holds("checksums", blob(30_000, 15)))
}

func versioning() error {
	bucket, key := aws.String(*bucket+"-versions"), aws.String("v")
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		return err
	}
	on := &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}
	if _, err := client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: bucket, VersioningConfiguration: on}); err != nil {
		return err
	}
	ids := []*string{}
	for n := range 2 {
		sent, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: bytes.NewReader(blob(20_001+n, 0))})
		if err != nil {
			return err
		}
		if sent.VersionId == nil {
			return errors.New("no version id")
		}
		ids = append(ids, sent.VersionId)
	}
	found, err := client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: bucket})
	if err != nil {
		return err
	}
	sizes := []int64{}
	for _, version := range found.Versions {
		sizes = append(sizes, *version.Size)
	}
	old, err := body(client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, VersionId: ids[0]}))
	if err := first(err, equal(sizes, []int64{20_002, 20_001}), same(old, blob(20_001, 0))); err != nil {
		return err
	}
	gone, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key})
	if err != nil {
		return err
	}
	_, missing := body(client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key}))
	if err := first(check(gone.DeleteMarker != nil && *gone.DeleteMarker, "no delete marker"), refused(missing, "NoSuchKey", 0)); err != nil {
		return err
	}
	for _, id := range append(ids, gone.VersionId) {
		if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key, VersionId: id}); err != nil {
			return err
		}
	}
	_, err = client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket})
	return err
}
