// The AWS SDK for Go, version 2: runs the cases that its arguments name, and prints a line of JSON for each.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"reflect"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const part = 5 << 20

var (
	ctx     = context.Background()
	bucket  = aws.String(os.Getenv("CERTIFY_BUCKET"))
	oddKeys = []string{"odd/a b", "odd/a+b", "odd/a%20b", "odd/ü/ключ", "odd/&<>'\"", "odd/sub/one", "odd/=?#"}
	client  = s3.New(s3.Options{
		BaseEndpoint: aws.String(os.Getenv("CERTIFY_ENDPOINT")),
		Region:       "us-east-1",
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(os.Getenv("CERTIFY_ACCESS"), os.Getenv("CERTIFY_SECRET"), ""),
	})
)

func main() {
	for _, name := range os.Args[1:] {
		line := map[string]any{"case": name, "ok": true}
		if err := run(name); err != nil {
			line["ok"], line["error"] = false, err.Error()
		}
		text, _ := json.Marshal(line)
		fmt.Println(string(text))
	}
}

func run(name string) error {
	f, known := cases[name]
	if !known {
		return fmt.Errorf("no such case here: %s", name)
	}
	return f()
}

// blob gives repeatable bytes that differ for each seed.
func blob(size int, seed int64) []byte {
	data := make([]byte, size)
	rand.New(rand.NewSource(seed<<32 + int64(size))).Read(data)
	return data
}

func check(holds bool, format string, more ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, more...)
}

func equal(got, expected any) error {
	return check(reflect.DeepEqual(got, expected), "got %v, expected %v", got, expected)
}

func same(got, expected []byte) error {
	return check(bytes.Equal(got, expected), "%d bytes that differ from the %d expected", len(got), len(expected))
}

// refused wants an error with this code, or this status where there is no body.
func refused(err error, code string, status int) error {
	var api smithy.APIError
	var answer *smithyhttp.ResponseError
	if errors.As(err, &api) && api.ErrorCode() == code {
		return nil
	}
	if errors.As(err, &answer) && answer.HTTPStatusCode() == status {
		return nil
	}
	return fmt.Errorf("expected %s or %d, got %v", code, status, err)
}

func put(key string, data []byte) (*s3.PutObjectOutput, error) {
	return client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: bytes.NewReader(data)})
}

func body(answer *s3.GetObjectOutput, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return io.ReadAll(answer.Body)
}

func read(key string) ([]byte, error) {
	return body(client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key}))
}

// holds compares a stored object.
func holds(key string, expected []byte) error {
	got, err := read(key)
	if err != nil {
		return err
	}
	return same(got, expected)
}

func fetch(url string, expected []byte) error {
	answer, err := http.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != 200 {
		return fmt.Errorf("%d %s", answer.StatusCode, got)
	}
	return same(got, expected)
}

func send(url string, data []byte) error {
	request, err := http.NewRequest("PUT", url, bytes.NewReader(data))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	return check(answer.StatusCode == 200, "%d %s", answer.StatusCode, text)
}

// first gives the first error, if any.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
