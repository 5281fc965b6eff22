package certify;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.S3Configuration;
import software.amazon.awssdk.services.s3.model.S3Exception;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;

/** The AWS SDK for Java, version 2: runs the cases that its arguments name, and prints a line of JSON for each. */
public final class Main {
    static final int PART = 5 << 20;
    static final List<String> ODD_KEYS =
            List.of("odd/a b", "odd/a+b", "odd/a%20b", "odd/ü/ключ", "odd/&<>'\"", "odd/sub/one", "odd/=?#");
    static final String BUCKET = System.getenv("CERTIFY_BUCKET");
    static final URI ENDPOINT = URI.create(System.getenv("CERTIFY_ENDPOINT"));
    static final StaticCredentialsProvider CREDENTIALS = StaticCredentialsProvider.create(
            AwsBasicCredentials.create(System.getenv("CERTIFY_ACCESS"), System.getenv("CERTIFY_SECRET")));
    static final S3Client S3 = S3Client.builder()
            .endpointOverride(ENDPOINT)
            .region(Region.US_EAST_1)
            .forcePathStyle(true)
            .credentialsProvider(CREDENTIALS)
            .build();
    static final S3Presigner PRESIGNER = S3Presigner.builder()
            .endpointOverride(ENDPOINT)
            .region(Region.US_EAST_1)
            .credentialsProvider(CREDENTIALS)
            .serviceConfiguration(S3Configuration.builder().pathStyleAccessEnabled(true).build())
            .build();
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    /** One case. */
    interface Case {
        void run() throws Exception;
    }

    public static void main(String[] names) {
        var cases = new Cases().all();
        for (String name : names) {
            String end = ",\"ok\":true}";
            try {
                check(cases.containsKey(name), "no such case here: " + name);
                cases.get(name).run();
            } catch (S3Exception e) {
                var details = e.awsErrorDetails();
                end = ",\"ok\":false,\"error\":" + quoted((details == null ? "" : details.errorCode() + ": ") + e.getMessage()) + "}";
            } catch (Exception | AssertionError e) {
                end = ",\"ok\":false,\"error\":" + quoted(e.toString()) + "}";
            }
            System.out.println("{\"case\":" + quoted(name) + end);
        }
    }

    private static String quoted(String text) {
        var out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else {
                out.append(c < ' ' ? String.format("\\u%04x", (int) c) : c);
            }
        }
        return out.append('"').toString();
    }

    /** Repeatable bytes that differ for each seed. */
    static byte[] blob(int size, int seed) {
        byte[] data = new byte[size];
        new Random(((long) seed << 32) + size).nextBytes(data);
        return data;
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void equal(Object got, Object expected) {
        check(Objects.equals(got, expected), "got " + got + ", expected " + expected);
    }

    static void same(byte[] got, byte[] expected) {
        check(Arrays.equals(got, expected), got.length + " bytes that differ from the " + expected.length + " expected");
    }

    /** The call must fail with this code, or this status where there is no body. */
    static void refused(Case call, String code, int status) throws Exception {
        try {
            call.run();
        } catch (S3Exception e) {
            var said = e.awsErrorDetails() == null ? "" : e.awsErrorDetails().errorCode();
            check(code.equals(said) || e.statusCode() == status, "expected " + code + ", got " + e);
            return;
        }
        throw new AssertionError("succeeded, expected " + code);
    }

    static byte[] httpGet(java.net.URL url) throws Exception {
        return send(HttpRequest.newBuilder(url.toURI()).build());
    }

    static void httpPut(java.net.URL url, byte[] body) throws Exception {
        send(HttpRequest.newBuilder(url.toURI()).PUT(HttpRequest.BodyPublishers.ofByteArray(body)).build());
    }

    private static byte[] send(HttpRequest request) throws IOException, InterruptedException {
        var answer = HTTP.send(request, HttpResponse.BodyHandlers.ofByteArray());
        check(answer.statusCode() == 200, answer.statusCode() + " " + new String(answer.body()));
        return answer.body();
    }
}
