import ApusCore
import ApusGraph
import Testing

@testable import ApusOperators

/// StringNormalizer, TfIdfVectorizer and RegexFullMatch. Expected values come from ONNX's reference evaluator or Python.
struct TextTests {

    @Test
    func normalizer() throws {
        try expectEvaluates(
            "StringNormalizer", opset: 10, ["case_change_action": .string("LOWER"), "is_case_sensitive": .int(1), "stopwords": .strings(["monday"])],
            [.strings(try StringTensor(shape: Shape([4]), elements: ["monday", "tuesday", "Wednesday", "thursday"]))],
            [.strings(try StringTensor(shape: Shape([3]), elements: ["tuesday", "wednesday", "thursday"]))])
        try expectEvaluates(
            "StringNormalizer", opset: 10, ["case_change_action": .string("UPPER"), "is_case_sensitive": .int(0), "stopwords": .strings(["MONDAY", "wednesday"])],
            [.strings(try StringTensor(shape: Shape([4]), elements: ["monday", "tuesday", "Wednesday", "thursday"]))],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["TUESDAY", "THURSDAY"]))])
        try expectEvaluates(
            "StringNormalizer", opset: 10, ["stopwords": .strings(["monday"])],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["monday", "Monday"]))],
            [.strings(try StringTensor(shape: Shape([1]), elements: [""]))])
        try expectEvaluates(
            "StringNormalizer", opset: 10, ["stopwords": .strings(["monday"]), "is_case_sensitive": .int(1)],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["monday", "Monday"]))],
            [.strings(try StringTensor(shape: Shape([1]), elements: ["Monday"]))])
        try expectEvaluates(
            "StringNormalizer", opset: 10, ["case_change_action": .string("UPPER")],
            [.strings(try StringTensor(shape: Shape([1, 2]), elements: ["straße", "élan"]))],
            [.strings(try StringTensor(shape: Shape([1, 2]), elements: ["STRASSE", "ÉLAN"]))])
        try expectEvaluates(
            "StringNormalizer", opset: 10, ["case_change_action": .string("UPPER"), "locale": .string("tr_TR")],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["istanbul", "ılık"]))],
            [.strings(try StringTensor(shape: Shape([2]), elements: ["İSTANBUL", "ILIK"]))])
        try expectEvaluates(
            "StringNormalizer", opset: 10, ["case_change_action": .string("LOWER"), "locale": .string("tr_TR")],
            [.strings(try StringTensor(shape: Shape([1]), elements: ["İSTANBUL ISI"]))],
            [.strings(try StringTensor(shape: Shape([1]), elements: ["istanbul ısı"]))])
        try expectEvaluates(
            "StringNormalizer", opset: 10, [:],
            [.strings(try StringTensor(shape: Shape([1, 0]), elements: []))],
            [.strings(try StringTensor(shape: Shape([1, 1]), elements: [""]))])
        expectRefuses(
            "StringNormalizer", opset: 10, [:], [.strings(try StringTensor(shape: Shape([2, 1]), elements: ["a", "b"]))], .shapeMismatch, "[1,C]")
        expectRefuses(
            "StringNormalizer", opset: 10, ["case_change_action": .string("LOWER")],
            [.strings(try StringTensor(shape: Shape([1]), elements: [ByteString([0xff])]))], .invalidValue, "UTF-8")
        expectRefuses(
            "StringNormalizer", opset: 10, ["case_change_action": .string("TITLE")],
            [.strings(try StringTensor(shape: Shape([1]), elements: ["a"]))], .invalidModel, "case_change_action")
    }

    @Test
    func vectorizer() throws {
        try expectEvaluates(
            "TfIdfVectorizer", opset: 9, ["mode": .string("TF"), "min_gram_length": .int(1), "max_gram_length": .int(2), "max_skip_count": .int(0), "ngram_counts": .ints([0, 4]), "ngram_indexes": .ints([0, 1, 2, 3, 4, 5, 6]), "pool_int64s": .ints([2, 3, 5, 4, 5, 6, 7, 8, 6, 7])],
            [.tensor(try Tensor(.int32, [2, 6], [1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8] as [Int32]))],
            [.tensor(try Tensor(.float32, [2, 7], [0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1] as [Float]))])
        try expectEvaluates(
            "TfIdfVectorizer", opset: 9, ["mode": .string("TF"), "min_gram_length": .int(1), "max_gram_length": .int(2), "max_skip_count": .int(5), "ngram_counts": .ints([0, 4]), "ngram_indexes": .ints([0, 1, 2, 3, 4, 5, 6]), "pool_int64s": .ints([2, 3, 5, 4, 5, 6, 7, 8, 6, 7])],
            [.tensor(try Tensor(.int32, [2, 6], [1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8] as [Int32]))],
            [.tensor(try Tensor(.float32, [2, 7], [0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 1] as [Float]))])
        try expectEvaluates(
            "TfIdfVectorizer", opset: 9, ["mode": .string("TF"), "min_gram_length": .int(2), "max_gram_length": .int(2), "max_skip_count": .int(5), "ngram_counts": .ints([0, 4]), "ngram_indexes": .ints([0, 1, 2, 3, 4, 5, 6]), "pool_int64s": .ints([2, 3, 5, 4, 5, 6, 7, 8, 6, 7])],
            [.tensor(try Tensor(.int32, [2, 6], [1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8] as [Int32]))],
            [.tensor(try Tensor(.float32, [2, 7], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1] as [Float]))])
        try expectEvaluates(
            "TfIdfVectorizer", opset: 9, ["mode": .string("IDF"), "min_gram_length": .int(1), "max_gram_length": .int(2), "max_skip_count": .int(0), "ngram_counts": .ints([0, 4]), "ngram_indexes": .ints([0, 1, 2, 3, 4, 5, 6]), "pool_int64s": .ints([2, 3, 5, 4, 5, 6, 7, 8, 6, 7]), "weights": .floats([1, 1, 1, 1, 1, 1, 1])],
            [.tensor(try Tensor(.int32, [2, 6], [1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8] as [Int32]))],
            [.tensor(try Tensor(.float32, [2, 7], [0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1] as [Float]))])
        try expectEvaluates(
            "TfIdfVectorizer", opset: 9, ["mode": .string("TFIDF"), "min_gram_length": .int(1), "max_gram_length": .int(2), "max_skip_count": .int(1), "ngram_counts": .ints([0, 4]), "ngram_indexes": .ints([0, 1, 2, 3, 4, 5, 6]), "pool_int64s": .ints([2, 3, 5, 4, 5, 6, 7, 8, 6, 7]), "weights": .floats([0.5, 1, 2, 3, 0.25, 0.75, 4])],
            [.tensor(try Tensor(.int32, [2, 6], [1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8] as [Int32]))],
            [.tensor(try Tensor(.float32, [2, 7], [0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0.25, 0, 4] as [Float]))])
        try expectEvaluates(
            "TfIdfVectorizer", opset: 9, ["mode": .string("IDF"), "min_gram_length": .int(1), "max_gram_length": .int(2), "max_skip_count": .int(0), "ngram_counts": .ints([0, 4]), "ngram_indexes": .ints([0, 1, 2, 3, 4, 5, 6]), "pool_int64s": .ints([2, 3, 5, 4, 5, 6, 7, 8, 6, 7]), "weights": .floats([0.5, 1, 2, 3, 0.25, 0.75, 4])],
            [.tensor(try Tensor(.int32, [2, 6], [1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8] as [Int32]))],
            [.tensor(try Tensor(.float32, [2, 7], [0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0.25, 0, 4] as [Float]))])
        try expectEvaluates(
            "TfIdfVectorizer", opset: 9, ["mode": .string("TF"), "min_gram_length": .int(1), "max_gram_length": .int(2), "max_skip_count": .int(0), "ngram_counts": .ints([0, 4]), "ngram_indexes": .ints([6, 5, 4, 3, 2, 1, 0]), "pool_int64s": .ints([2, 3, 5, 4, 5, 6, 7, 8, 6, 7])],
            [.tensor(try Tensor(.int32, [2, 6], [1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8] as [Int32]))],
            [.tensor(try Tensor(.float32, [2, 7], [0, 0, 0, 0, 0, 3, 0, 1, 0, 1, 0, 1, 0, 0] as [Float]))])
        try expectEvaluates(
            "TfIdfVectorizer", opset: 9, ["mode": .string("TF"), "min_gram_length": .int(2), "max_gram_length": .int(3), "max_skip_count": .int(0), "ngram_counts": .ints([0, 0, 6]), "ngram_indexes": .ints([0, 1, 2, 3]), "pool_int64s": .ints([5, 6, 6, 7, 8, 6, 1, 3, 3])],
            [.tensor(try Tensor(.int64, [6], [8, 6, 7, 5, 6, 8] as [Int64]))],
            [.tensor(try Tensor(.float32, [4], [1, 1, 1, 0] as [Float]))])
        try expectEvaluates(
            "TfIdfVectorizer", opset: 9, ["mode": .string("TF"), "min_gram_length": .int(1), "max_gram_length": .int(2), "max_skip_count": .int(1), "ngram_counts": .ints([0, 2]), "ngram_indexes": .ints([0, 1, 2, 3]), "pool_strings": .strings(["a", "b", "a", "b", "b", "c"])],
            [.strings(try StringTensor(shape: Shape([6]), elements: ["b", "c", "a", "x", "b", "c"]))],
            [.tensor(try Tensor(.float32, [4], [1, 2, 1, 2] as [Float]))])
        try expectEvaluates(
            "TfIdfVectorizer", opset: 9, ["mode": .string("TF"), "min_gram_length": .int(1), "max_gram_length": .int(2), "max_skip_count": .int(1), "ngram_counts": .ints([0, 2]), "ngram_indexes": .ints([0, 1, 2, 3]), "pool_strings": .strings(["a", "b", "a", "b", "b", "c"])],
            [.strings(try StringTensor(shape: Shape([0]), elements: []))],
            [.tensor(try Tensor(.float32, [4], [0, 0, 0, 0] as [Float]))])
        let attributes: [String: AttributeValue] = [
            "mode": .string("TF"), "min_gram_length": .int(1), "max_gram_length": .int(2), "max_skip_count": .int(0),
            "ngram_counts": .ints([0, 1]), "ngram_indexes": .ints([0, 1]), "pool_int64s": .ints([1, 2, 3]),
        ]
        let input = Value.tensor(try Tensor(.int64, [3], [1, 2, 3] as [Int64]))
        func refuses(_ changes: [String: AttributeValue], _ text: String, location: SourceLocation = #_sourceLocation) {
            expectRefuses(
                "TfIdfVectorizer", opset: 9, attributes.merging(changes) { $1 }, [input], .invalidModel, text, location: location)
        }
        refuses(["ngram_counts": .ints([0, 2])], "ngram_counts")
        refuses(["ngram_counts": .ints([0, -1])], "ngram_counts")
        refuses(["ngram_counts": .ints([0, 9])], "ngram_counts")
        refuses(["ngram_indexes": .ints([0])], "more n-grams")
        refuses(["ngram_indexes": .ints([0, -1])], "ngram_indexes")
        expectRefuses(
            "TfIdfVectorizer", opset: 9, attributes.merging(["ngram_indexes": .ints([0, .max])]) { $1 }, [input], .invalidValue, "64 bits")
        refuses(["mode": .string("X")], "mode")
        refuses(["max_skip_count": .int(-1)], "max_skip_count")
        refuses(["min_gram_length": .int(3)], "n-grams")
        refuses(["weights": .floats([1])], "weights")
        refuses(["pool_strings": .strings(["a"])], "pool_strings")
        expectRefuses(
            "TfIdfVectorizer", opset: 9, attributes, [.strings(try StringTensor(shape: Shape([1]), elements: ["a"]))], .typeMismatch, "")
        // Distances beyond the text cost nothing.
        try expectEvaluates(
            "TfIdfVectorizer", opset: 9, attributes.merging(["max_skip_count": .int(.max), "max_gram_length": .int(.max)]) { $1 }, [input],
            [.tensor(try Tensor(.float32, [2], [1, 1] as [Float]))])
    }

    /// Pattern, text, whether the whole text matches: as Python's re or RE2 has it.
    private static let matches: [(String, String, Bool)] = [
        ("www\\.[\\w.-]+\\.\\bcom\\b", "www.google.com", true),
        ("www\\.[\\w.-]+\\.\\bcom\\b", "www.facebook.com", true),
        ("www\\.[\\w.-]+\\.\\bcom\\b", "www.bbc.co.uk", false),
        ("(\\W|^)[\\w.\\-]{0,25}@(yahoo|gmail)\\.com(\\W|$)", "account@gmail.com", true),
        ("(\\W|^)[\\w.\\-]{0,25}@(yahoo|gmail)\\.com(\\W|$)", "account@hotmail.com", false),
        ("(\\W|^)[\\w.\\-]{0,25}@(yahoo|gmail)\\.com(\\W|$)", "not email", false),
        ("(\\W|^)[\\w.\\-]{0,25}@(yahoo|gmail)\\.com(\\W|$)", "account2@yahoo.com", true),
        ("", "", true),
        ("", "a", false),
        ("a*", "", true),
        ("a*", "aaaa", true),
        ("a*", "b", false),
        ("a+b?", "a", true),
        ("a+b?", "aab", true),
        ("a+b?", "b", false),
        ("a+b?", "abb", false),
        ("(ab|cd)*", "abcd", true),
        ("(ab|cd)*", "abc", false),
        ("(ab|cd)*", "", true),
        ("a{2,3}", "a", false),
        ("a{2,3}", "aa", true),
        ("a{2,3}", "aaa", true),
        ("a{2,3}", "aaaa", false),
        ("a{2,}", "a", false),
        ("a{2,}", "aa", true),
        ("a{2,}", "aaaaaa", true),
        ("a{2}", "aa", true),
        ("a{2}", "aaa", false),
        ("(a|b){1,2}c", "abc", true),
        ("(a|b){1,2}c", "ac", true),
        ("(a|b){1,2}c", "c", false),
        ("(a|b){1,2}c", "aabc", false),
        ("[^a-c]x", "dx", true),
        ("[^a-c]x", "ax", false),
        ("[^a-c]x", "\nx", true),
        (".", "a", true),
        (".", "\n", false),
        (".", "é", true),
        ("(?s).", "\n", true),
        ("(?i)straSSe[A-C]", "STRASSEb", true),
        ("(?i)straSSe[A-C]", "strasseD", false),
        ("\\d+\\s\\D", "12 x", true),
        ("\\d+\\s\\D", "12 3", false),
        ("\\d+\\s\\D", "1\tx", true),
        ("\\x41\\x{e9}\\n", "Aé\n", true),
        ("\\x41\\x{e9}\\n", "A", false),
        ("\\Qa.b*\\E+", "a.b*", true),
        ("\\Qa.b*\\E+", "a.b**", true),
        ("\\Qa.b*\\E+", "axb", false),
        ("^abc$", "abc", true),
        ("^abc$", "abcd", false),
        ("(?m)a$\n^b", "a\nb", true),
        ("(?m)a$\n^b", "ab", false),
        ("[[:alpha:]_]+[[:^digit:]]", "ab_c", true),
        ("[[:alpha:]_]+[[:^digit:]]", "ab1", false),
        ("(?:a|ab)(?:c|bcd)(?:d*)", "abcd", true),
        ("(?:a|ab)(?:c|bcd)(?:d*)", "abcdd", true),
        ("(?:a|ab)(?:c|bcd)(?:d*)", "ab", false),
        ("(?P<n>x)(?<m>y)", "xy", true),
        ("a|b|", "", true),
        ("a|b|", "a", true),
        ("a|b|", "b", true),
        ("a|b|", "c", false),
        ("\\bfoo\\b.\\Bo", "foo oo", false),
        ("[]a]+", "]a]", true),
        ("[a\\]-]+", "a]-", true),
        ("x{,2}", "x{,2}", true),
        ("x{,2}", "xx", false),
        ("a{1001", "a{1001", true),
        ("(a*)*b", "aaaab", true),
        ("(a*)*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ("(x+x+)+y", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxy", true),
        ("(x+x+)+y", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", false),
        ("\\pL+", "aé日", true),
        ("\\pL+", "a1", false),
        ("\\p{Lu}\\P{Lu}", "Éé", true),
        ("\\p{^Lu}", "é", true),
        ("[\\pN\\s]+", "1 ٣", true),
        ("\\p{Any}", "x", true),
        ("\\101", "A", true),
        ("(?i)[^k]", "K", false),
        ("(?U)a+?", "aaa", true),
        ("\\A\\z", "", true),
    ]

    @Test
    func regex() throws {
        for (pattern, text, expected) in Self.matches {
            #expect(try RegularExpression(pattern).matchesWhole(ByteString(text)) == expected, "\(pattern) on \(text)")
        }
        try expectEvaluates(
            "RegexFullMatch", opset: 20, ["pattern": .string("a+")],
            [.strings(try StringTensor(shape: Shape([2, 2]), elements: ["a", "b", "aa", ""]))],
            [.tensor(try Tensor(.bool, [2, 2], [1, 0, 1, 0] as [UInt8]))])
        try expectEvaluates(
            "RegexFullMatch", opset: 20, ["pattern": .string("a+")], [.strings(try StringTensor(shape: Shape([2, 0]), elements: []))],
            [.tensor(try Tensor(.bool, [2, 0], [] as [UInt8]))])
    }

    @Test(arguments: [
        "(", ")", "a)", "[", "[a", "*", "a**", "a{2}{3}*", "+a", "(?x)", "(?P<>a)", "(?P<a", "\\1", "\\8", "\\y", "\\x{110000}", "\\xg", "\\", "[b-a]",
        "\\pX", "\\p{Greek", "a{1001}", "a{3,2}", "[[:foo:]]", "((((a{100}){100}){100}){100})", String(repeating: "(", count: 400),
    ])
    func badPatterns(pattern: String) {
        expectError(.invalidModel) { _ = try RegularExpression(pattern) }
    }

    @Test
    func nothingRepeated() throws {
        #expect(try RegularExpression("((((){1000}){1000}){1000}){1000}").matchesWhole(ByteString("")))
    }
}
